"""Text from a cluster that wants to be markup: it is shown as text, at first load and in a live patch."""

import msgspec
import pytest

from app.kube.client import ApiServer

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "javascript:alert(1)",
    "</hx-partial><hx-partial hx-target='body'><img src=x onerror=alert(1)>",
    "{{7*7}}${7*7}#{7*7}",
    "<b hx-get=/ hx-trigger=load hx-nonce=x>x</b>",
    "<kn-age at='<script>alert(1)</script>'></kn-age>",
    "\u202egnp.exe\u0000",
]


def pod(name: str, payloads: list[str]) -> bytes:
    annotations = {f"hostile.example.com/a{number}": payload for number, payload in enumerate(payloads)}
    container = {"name": "main", "image": payloads[1], "env": [{"name": "A", "value": payloads[0]}], "args": payloads}
    metadata = {"name": name, "namespace": "default", "annotations": annotations}
    return msgspec.json.encode(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    )


@pytest.mark.case("S49")
@pytest.mark.case("S50")
@pytest.mark.case("S68")
async def test_hostile_text_is_text_at_first_load_and_in_a_patch(page, running, kubeconfig) -> None:
    cluster = await running.register(kubeconfig, "prod-us", name="prod-us", labels={})
    path = "/api/v1/namespaces/default/pods"
    async with ApiServer(await running.services.clusters.endpoint(cluster)) as api:
        sent = {"Content-Type": "application/json"}
        await api.request("POST", path, headers=sent, body=pod("hostile", PAYLOADS[:4]))
        await page.goto(f"{running.url}/clusters/{cluster}/pods/default/hostile")
        await page.wait_for_selector("[data-live-badge][data-state=live]")
        first = await page.inner_text("#object-summary")
        assert PAYLOADS[0] in first
        assert PAYLOADS[2] in first

        patch = msgspec.json.encode(
            {"metadata": {"annotations": {f"late.example.com/a{n}": payload for n, payload in enumerate(PAYLOADS)}}}
        )
        merge = {"Content-Type": "application/merge-patch+json"}
        await api.request("PATCH", f"{path}/hostile", headers=merge, body=patch)
        await page.wait_for_selector("text=late.example.com/a8")

    late = await page.inner_text("#object-summary")
    for payload in PAYLOADS[:8]:
        assert payload in late
    assert "49" not in late
    assert await page.locator("main script, main img, main [onload], main a[href^='javascript']").count() == 0

"""Pages as a person uses them, in a real browser with real clusters."""

import re
from pathlib import Path

import pytest

AXE = Path(__file__).parents[1] / "tests/ui/axe/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LONG = 60_000  # two cores are shared


async def test_registering_by_pasting_a_kubeconfig_leads_to_a_live_fleet(page, running, kubeconfig) -> None:
    await page.click("text=Register a cluster >> nth=0")
    await page.fill("#kubeconfig", kubeconfig)
    await page.check("[name=context][value=prod-eu]")
    await page.fill("[name=environment]", "production")
    await page.click("text=Try the connection >> nth=0")
    await page.wait_for_selector(".steps li >> nth=6")
    assert await page.locator(".steps .status-error").count() == 0
    await page.click("button:text-is('Register')")
    await page.wait_for_url(re.compile("/clusters/[0-9a-f]{32}$"))

    await page.goto(running.url)
    await page.wait_for_selector(".card-c .troubles a", timeout=LONG)
    await page.wait_for_selector("[data-live-badge][data-state=live]")
    assert await page.locator(".card-c h3").inner_text() == "prod-eu"


async def test_a_wrong_kubeconfig_gets_a_sentence_beside_the_field(page, running) -> None:
    await page.goto(running.url + "/clusters/new")
    await page.fill("#kubeconfig", "this: is: no: kubeconfig")
    await page.click("button:text-is('Register')")

    await page.wait_for_selector("#fault-kubeconfig .fault")
    assert await page.locator("#steps .fault").count() == 0


async def test_the_fleet_shows_a_new_cluster_without_a_reload(page, running, kubeconfig) -> None:
    await page.wait_for_selector(".empty")
    await page.evaluate("window.stays = 1")

    await running.register(kubeconfig, "prod-us", name="prod-us")

    await page.wait_for_selector(".card-c h3:has-text('prod-us')", timeout=LONG)
    assert await page.evaluate("window.stays") == 1


async def test_an_object_page_says_what_is_broken_and_leads_up_and_down(page, running, kubeconfig) -> None:
    await running.register(kubeconfig, "prod-eu", name="prod-eu")
    await page.wait_for_selector(".troubles a", timeout=LONG)
    await page.click(".troubles a >> nth=0")

    await page.wait_for_selector("#object-summary .panel")
    await page.wait_for_selector("[data-live-badge][data-state=live]")
    assert "metadata:" in await page.inner_text(".yaml")
    assert "managedFields" not in await page.inner_text(".yaml")


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_pages_have_no_accessibility_violations(page, running, kubeconfig, theme) -> None:
    cluster = await running.register(kubeconfig, "prod-eu", name="prod-eu", labels={"team": "shop"})
    await page.wait_for_selector(".troubles a", timeout=LONG)
    trouble = await page.get_attribute(".troubles a >> nth=0", "href")
    await page.evaluate("theme => localStorage.setItem('theme', theme)", theme)

    found = []
    for path in ("/", "/clusters", "/clusters/new", f"/clusters/{cluster}", trouble, "/account/password"):
        await page.goto(running.url + path)
        await page.wait_for_selector("h1")
        found += [f"{path}: {fault}" for fault in await violations(page)]
    await page.goto(running.url)
    await page.keyboard.press("Control+k")
    found += [f"palette: {fault}" for fault in await violations(page)]

    assert found == []


async def violations(page) -> list[str]:
    await page.evaluate(AXE.read_text())
    result = await page.evaluate("rules => axe.run({ runOnly: rules })", RULES)
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:120]} ({v['nodes'][0]['failureSummary'][:160]})"
        for v in result["violations"]
    ]


async def test_keys_open_the_palette_and_go_to_a_kind(page) -> None:
    await page.keyboard.press("Control+k")
    await page.keyboard.type("statefuls")
    await page.keyboard.press("Enter")

    await page.wait_for_url("**/resources/statefulsets.apps")

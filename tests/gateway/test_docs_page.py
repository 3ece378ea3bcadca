"""The API's page in a real browser, under the strict policy."""

import pytest
from playwright.async_api import async_playwright

from tests.gateway.serving import serving
from ui import assets


@pytest.fixture
async def documented(engine, redis, hub, passwords):
    async with serving(engine, redis, hub, passwords, [assets.static_file]) as server:
        yield server


async def test_the_api_page_lists_tries_and_breaks_no_policy(documented) -> None:
    said: list[str] = []
    async with documented.signed_in() as client, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = await browser.new_context(color_scheme="dark")
        await context.add_cookies([{"name": "kubenexus", "value": client.cookies["kubenexus"], "url": documented.url}])
        page = await context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        await page.goto(f"{documented.url}/docs")
        operation = page.locator("#operations-account-who_am_i")
        await operation.locator(".opblock-summary-control").click()
        await operation.get_by_role("button", name="Try it out").click()
        await operation.get_by_role("button", name="Execute").click()
        await operation.get_by_text("administrator-0").first.wait_for()
        for other in await page.locator(".opblock-summary-control").all():
            await other.click()
        await browser.close()

    assert said == []


async def test_the_document_says_what_the_server_does(documented) -> None:
    async with documented.signed_in() as client, documented.client() as nobody:
        document = (await client.get("/docs/openapi.json")).json()
        assert (await nobody.get("/docs/openapi.json")).status_code == 401

    assert document["openapi"].startswith("3.1")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            problem = operation["responses"]["401"]["content"]["application/problem+json"]["schema"]
            assert problem == {"$ref": "#/components/schemas/ProblemDocument"}, (method, path)
            assert operation["operationId"]
            assert "400" not in operation["responses"], "Litestar's own form of errors"
    assert document["components"]["schemas"]["Registration"]["additionalProperties"] is False

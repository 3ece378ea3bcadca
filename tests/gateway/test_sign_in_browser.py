"""Signing in with a real browser: the one-time link, the first password, and a wrong one."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from tests.gateway.serving import Served, serving
from ui import assets
from ui.pages import sign_in

NEW = "seven green trees in the rain"


@pytest.fixture
async def paged(engine, redis, hub, passwords):
    routes = [assets.static_file, sign_in.sign_in_page, sign_in.link_page, sign_in.password_page]
    async with serving(engine, redis, hub, passwords, routes) as server:
        yield server


@contextlib.asynccontextmanager
async def browsing() -> AsyncIterator[tuple[Page, list[str]]]:
    """A page, and what it complained of."""
    said: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = await browser.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        yield page, said
        await browser.close()


async def who(page: Page, served: Served) -> dict:
    answer = await page.request.get(f"{served.url}/api/v1/session")
    return await answer.json()


@pytest.mark.case("S40")
async def test_the_link_signs_its_browser_in_once_and_leaves_no_token_behind(paged: Served) -> None:
    await paged.services.accounts.ensure_administrator()
    link = await paged.services.accounts.create_sign_in_link(paged.url)
    token = link.partition("#")[2]
    async with browsing() as (page, said):
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(link)
        await page.wait_for_url(f"{paged.url}/")
        assert (await who(page, paged))["roles"] == ["administrator"]
        assert not [url for url in asked if token in url.partition("#")[0]]
        assert token not in await page.evaluate("location.href + JSON.stringify(history.state)")
        assert not [text for text in said if "Content Security Policy" in text]

        await page.context.clear_cookies()
        await page.goto(link)
        await page.get_by_role("alert").wait_for()
        assert "used already" in await page.get_by_role("alert").inner_text()
        assert "status" not in await who(page, paged) or (await who(page, paged))["status"] == 401


async def test_the_first_password_is_changed_before_anything_else(paged: Served) -> None:
    password = await paged.services.accounts.ensure_administrator()
    assert password is not None
    async with browsing() as (page, _said):
        await page.goto(f"{paged.url}/sign-in")
        await page.get_by_label("Name").fill("admin")
        await page.get_by_label("Password", exact=True).fill("not this one")
        await page.keyboard.press("Enter")
        assert "wrong" in await page.get_by_role("alert").inner_text()
        assert await page.get_by_label("Name").input_value() == "admin"

        await page.get_by_label("Password", exact=True).fill(password)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{paged.url}/")
        assert (await who(page, paged))["password_expired"]

        await page.goto(f"{paged.url}/api/v1/clusters")
        await page.wait_for_url(f"{paged.url}/account/password")
        await page.locator("input[name=current]").fill(password)
        await page.locator("input[name=new]").fill(NEW)
        await page.locator("input[name=repeated]").fill(NEW)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{paged.url}/")
        assert not (await who(page, paged))["password_expired"]

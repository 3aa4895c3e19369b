"""axe-core over the page's main states, in both themes: nothing serious may remain."""

import importlib.resources
from typing import Any, Literal

import msgspec
import pytest
from playwright.async_api import Browser, Page, expect

from ragstone.domain.errors import Overloaded
from tests.console.browsing import ask, choose_files, opened, send
from tests.console.corpus import QUESTION
from tests.console.stand_in import StandIn

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(scope="session")
def axe() -> str:
    return (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text()


async def violations(page: Page, axe: str) -> list[str]:
    """What axe-core finds: impact, rule and where."""
    await page.evaluate(f"() => {{ if (!window.axe) {{ {axe} }} }}")
    found: list[dict[str, Any]] = await page.evaluate(
        "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
    )
    return [
        f"{each['impact']} {each['id']}: {[node['target'] for node in each['nodes']]}"
        for each in found
    ]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 375)])
async def test_no_state_of_the_page_has_violations(
    browser: Browser,
    stand_in: StandIn,
    scripted_url: str,
    axe: str,
    theme: Literal["light", "dark"],
    width: int,
) -> None:
    found: dict[str, list[str]] = {}
    async with opened(
        browser,
        scripted_url,
        color_scheme=theme,
        reduced_motion="reduce",
        viewport={"width": width, "height": 800},
    ) as page:
        await expect(page.get_by_role("button", name="How many days")).to_be_visible()
        found["empty"] = await violations(page, axe)
        stand_in.status = msgspec.structs.replace(stand_in.status, rung="passages_only", level=5)
        await page.reload()
        await expect(page.locator("#server-status")).to_contain_text("very busy")
        found["busy"] = await violations(page, axe)
        await ask(page, QUESTION)
        await page.get_by_text("How this answer was made").click()
        await page.get_by_text("read and not cited").click()
        found["answer"] = await violations(page, axe)
        await page.locator("button.citation").first.click()
        await expect(page.get_by_role("dialog").locator("mark")).to_be_visible()
        found["panel"] = await violations(page, axe)
        await page.keyboard.press("Escape")
        stand_in.failures.append(Overloaded("Too many questions at once.", retry_after=30))
        await send(page, "And then?")
        await expect(page.locator(".exchange").get_by_role("alert")).to_be_visible()
        found["error"] = await violations(page, axe)
        await page.get_by_role("link", name="Documents").click()
        await choose_files(page, {"a.md": b"Good", "b.md": b"\xff\xfe\x00"})
        await expect(page.locator(".job.failed")).to_be_visible()
        await expect(page.locator(".job.done")).to_be_visible()
        await expect(page.get_by_text("Loading…")).to_have_count(0)
        found["documents"] = await violations(page, axe)
        await page.get_by_role("button", name="Delete Returns").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        found["confirmation"] = await violations(page, axe)
        await page.keyboard.press("Escape")
        await page.get_by_role("link", name="Search").click()
        await page.get_by_label("Search for").fill("return an unworn item")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("searching…")).to_have_count(0)
        await expect(page.locator(".hit").first).to_be_visible()
        found["search"] = await violations(page, axe)
    assert {state: each for state, each in found.items() if each} == {}

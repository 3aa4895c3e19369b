"""What a person does with the page, on every server that it must work with."""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.console.browsing import Site, ask, choose_files, job, opened
from tests.console.corpus import EVIDENCE, PRODUCT_QUESTION, QUESTION

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def overflow(page: Page) -> int:
    """How many pixels the page is wider than the window."""
    return int(
        await page.evaluate("document.documentElement.scrollWidth - document.body.clientWidth")
    )


async def test_an_answer_arrives_with_its_kind_sources_and_making(page: Page) -> None:
    await ask(page, QUESTION)
    exchange = page.locator(".exchange")
    await expect(exchange.locator(".answer-text")).to_contain_text(EVIDENCE)
    await expect(exchange.locator(".kind")).to_have_text("Extract from the documents")
    await expect(exchange.locator(".sources .source-title").first).to_have_text("Returns")
    await exchange.get_by_text("How this answer was made").click()
    await expect(exchange.get_by_role("row", name="Search")).to_be_visible()
    await expect(exchange.locator(".facts code")).to_have_text(re.compile(r"^[0-9a-f]{32}$"))
    await expect(page.locator("#announcer")).to_contain_text(EVIDENCE)


async def test_a_citation_opens_its_document_with_the_cited_words_marked_and_in_view(
    page: Page,
) -> None:
    await ask(page, QUESTION)
    source = await page.locator(".source-quote").first.text_content()
    await page.locator("button.citation").first.click()
    panel = page.get_by_role("dialog", name="Returns")
    mark = panel.locator("mark")
    await expect(mark).to_contain_text(EVIDENCE)
    assert await mark.text_content() == source
    await expect(mark).to_be_in_viewport()
    await expect(panel).to_contain_text("Sale items can be returned to every shop")


async def test_the_marked_words_of_a_long_document_are_scrolled_into_view(page: Page) -> None:
    await ask(page, "Which courier calls before nine in Region 97?")
    await page.locator(".source-title").first.click()
    await expect(page.get_by_role("dialog").locator("mark")).to_be_in_viewport()


async def test_a_question_goes_to_the_collection_that_was_picked(page: Page) -> None:
    await page.get_by_label("Collection", exact=True).select_option("products")
    async with page.expect_request("**/v1/answers") as request:
        await ask(page, PRODUCT_QUESTION)
    sent = (await request.value).post_data_json
    assert sent is not None
    assert sent["collection"] == "products"
    await expect(page.locator(".source-title").first).to_have_text("Garden dress")


async def test_a_follow_up_question_brings_the_conversation_with_it(page: Page) -> None:
    await ask(page, QUESTION)
    async with page.expect_request("**/v1/answers") as request:
        await ask(page, "And to which shop?")
    sent = (await request.value).post_data_json
    assert sent is not None
    turns = sent["conversation"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"]
    assert turns[0]["content"] == QUESTION
    assert EVIDENCE in turns[1]["content"]


async def test_a_question_that_the_documents_cannot_answer_is_said_to_be_so(page: Page) -> None:
    await ask(page, "Xylophone zeppelin quark?")
    await expect(page.locator(".kind")).to_have_text("Not found")


async def test_an_uploaded_file_can_be_found_when_its_job_is_done(page: Page) -> None:
    await page.get_by_role("link", name="Documents").click()
    text = b"# Gift cards\n\nA gift card is valid for seven years."
    await choose_files(page, {"gift-cards.md": text})
    await expect(job(page, "gift-cards.md").locator(".job-state")).to_have_text("Done")
    await expect(page.locator(".document", has_text="gift-cards.md")).to_be_visible()
    await page.get_by_role("link", name="Ask").click()
    await ask(page, "How long is a gift card valid?")
    await expect(page.locator(".answer-text")).to_contain_text("seven years")


async def test_a_damaged_file_is_reported_by_name_and_reason(page: Page) -> None:
    await page.get_by_role("link", name="Documents").click()
    await choose_files(page, {"scan.pdf": b"%PDF-1.7 \xff\xfe\x00"})
    row = job(page, "scan.pdf")
    await expect(row.locator(".job-state")).to_have_text("Failed")
    await expect(row.locator(".job-errors strong")).to_have_text("scan.pdf")
    await expect(row.locator(".job-errors code")).to_have_text("damaged_document")


async def test_a_document_is_deleted_after_asking(page: Page) -> None:
    await page.get_by_role("link", name="Documents").click()
    await page.get_by_role("button", name="Delete Returns").click()
    await page.keyboard.press("Escape")
    await expect(page.locator(".document")).to_have_count(2)
    await page.get_by_role("button", name="Delete Returns").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".document")).to_have_count(1)
    await expect(page.locator(".document-title")).to_be_focused()
    await expect(page.locator("#collection option:checked")).to_have_text("help (1)")


async def test_search_shows_the_three_rankings_side_by_side(page: Page) -> None:
    await page.get_by_role("link", name="Search").click()
    await page.get_by_label("Search for").fill("return an unworn item")
    await page.keyboard.press("Enter")
    for mode in ("Hybrid", "Dense", "Lexical"):
        column = page.get_by_role("region", name=mode)
        await expect(column.locator(".hit").first).to_contain_text(EVIDENCE)
        await expect(column.locator(".hit-score").first).to_have_text(re.compile(r"^[\d.]+$"))
    await page.get_by_role("region", name="Lexical").locator(".source-title").first.click()
    await expect(page.get_by_role("dialog").locator("mark")).to_contain_text(EVIDENCE)


async def test_everything_can_be_done_with_the_keyboard_alone(page: Page) -> None:
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    while not await page.get_by_label("Your question").evaluate("it => it.matches(':focus')"):
        await page.keyboard.press("Tab")
    await page.keyboard.type("First line")
    await page.keyboard.press("Shift+Enter")
    await expect(page.get_by_label("Your question")).to_have_value("First line\n")
    await page.get_by_label("Your question").fill("")
    await page.keyboard.type(QUESTION)
    await page.keyboard.press("Enter")
    await expect(page.locator(".kind")).to_be_visible()
    await expect(page.get_by_label("Your question")).to_be_focused()
    citation = page.locator("button.citation").first
    while not await citation.evaluate("it => it.matches(':focus')"):
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Close")).to_be_focused()
    # The body stands for the browser's own controls, which come after the last of the dialog's.
    inside = "document.activeElement.closest('dialog') !== null"
    for _ in range(4):
        await page.keyboard.press("Tab")
        assert await page.evaluate(f"{inside} || document.activeElement === document.body")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(citation).to_be_focused()


@pytest.mark.parametrize("width", [375, 320])
async def test_nothing_is_wider_than_a_phone(browser: Browser, site: Site, width: int) -> None:
    viewport = {"width": width, "height": 740}
    async with opened(browser, site.base_url, viewport=viewport) as page:
        await expect(page.get_by_label("Your question")).to_be_visible()
        assert await overflow(page) <= 0
        await ask(page, QUESTION)
        await page.get_by_text("How this answer was made").click()
        assert await overflow(page) <= 0
        await page.locator("button.citation").first.click()
        panel = page.get_by_role("dialog")
        await expect(panel.locator("mark")).to_be_in_viewport()
        size = "panel => [panel.offsetWidth, panel.offsetHeight]"
        assert await panel.evaluate(size) == [width, 740]
        await page.keyboard.press("Escape")
        await page.get_by_role("link", name="Documents").click()
        await expect(page.locator(".document").first).to_be_visible()
        assert await overflow(page) <= 0
        await page.get_by_role("link", name="Search").click()
        await page.get_by_label("Search for").fill("return")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("searching…")).to_have_count(0)
        await expect(page.locator(".hit").first).to_be_visible()
        assert await overflow(page) <= 0


async def test_the_theme_follows_the_system_until_one_is_chosen(
    browser: Browser, site: Site
) -> None:
    background = "body => getComputedStyle(body).backgroundColor"
    async with opened(browser, site.base_url, color_scheme="dark") as page:
        body = page.locator("body")
        dark = await body.evaluate(background)
        await page.get_by_role("button", name="Use the light theme").click()
        await expect(body).not_to_have_css("background-color", dark)
        light = await body.evaluate(background)
        await page.reload()
        await expect(body).to_have_css("background-color", light)
        await page.emulate_media(color_scheme="light")
        await page.get_by_role("button", name="Use the dark theme").click()
        await expect(body).to_have_css("background-color", dark)

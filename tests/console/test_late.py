"""Answers that come late or overtake one another, and people who do not wait for them."""

import asyncio

import msgspec
import pytest
from playwright.async_api import Browser, Page, Route, expect

from ragstone.domain.errors import Overloaded
from tests.console.browsing import ask, choose_files, hold, job, let_go, opened, send
from tests.console.corpus import EVIDENCE, QUESTION
from tests.console.stand_in import StandIn

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

REFRESH = "dispatchEvent(new Event('online'))"
"""Makes the page ask again which collections there are."""


async def open_section(page: Page, name: str) -> None:
    """Go there, and wait until the page has: it then gives the focus away for the last time."""
    await page.get_by_role("link", name=name).click()
    await expect(page).to_have_title(f"{name} · Ragstone")


async def delete(page: Page, title: str) -> None:
    await page.get_by_role("button", name=f"Delete {title}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()


# Files


async def test_files_chosen_before_the_server_has_answered_wait_for_their_collection(
    scripted_page: Page,
) -> None:
    collections = await hold(scripted_page, "**/v1/collections")
    await scripted_page.reload()
    await scripted_page.get_by_role("link", name="Documents").click()
    await choose_files(scripted_page, {"early.md": b"Early"})
    await choose_files(scripted_page, {"too.md": b"Early too"})
    waiting = scripted_page.get_by_text("2 files waiting for the name of a collection.")
    await expect(waiting).to_be_visible()
    collections.let_go.set()
    for name in ("early.md", "too.md"):
        await expect(job(scripted_page, name).locator(".job-state")).to_have_text("Done")
    await expect(waiting).to_have_count(0)


async def test_files_for_a_collection_without_a_name_are_sent_once_it_has_one(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await scripted_page.get_by_role("link", name="Documents").click()
    name = scripted_page.get_by_label("Into collection")
    await expect(name).to_have_value("help")
    await name.fill("")
    await choose_files(scripted_page, {"fabrics.md": b"Linen"})
    await expect(scripted_page.get_by_text("1 file waiting")).to_be_visible()
    await name.fill("fab")
    # Half a name is none, whatever else the page hears meanwhile.
    stand_in.add("help", "new.md", "New", "New")
    await scripted_page.evaluate(REFRESH)
    await expect(scripted_page.locator("#collection option").first).to_have_text("help (3)")
    await name.fill("fabrics")
    await name.press("Enter")
    row = job(scripted_page, "fabrics.md")
    await expect(row).to_contain_text("fabrics · ")
    await expect(row.locator(".job-state")).to_have_text("Done")


async def test_files_that_wait_their_turn_are_seen(scripted_page: Page) -> None:
    sending = asyncio.Event()

    async def slowly(route: Route) -> None:
        await sending.wait()
        await route.continue_()

    await scripted_page.route("**/v1/documents", slowly)
    await scripted_page.get_by_role("link", name="Documents").click()
    await choose_files(scripted_page, {f"{n}.md": b"One of many" for n in range(5)})
    await expect(scripted_page.locator(".job", has_text="Uploading")).to_have_count(5)
    sending.set()
    await expect(scripted_page.locator(".job.done")).to_have_count(5)


async def test_an_accepted_file_is_seen_though_a_look_at_the_jobs_is_still_under_way(
    scripted_page: Page,
) -> None:
    looks: list[str] = []
    jobs = await hold(scripted_page, "**/v1/jobs")
    await scripted_page.get_by_role("link", name="Documents").click()
    await jobs.came.wait()
    scripted_page.on(
        "request", lambda request: looks.append(request.url) if "/jobs" in request.url else None
    )
    await choose_files(scripted_page, {"care.md": b"Cold water"})
    state = job(scripted_page, "care.md").locator(".job-state")
    await expect(state).to_have_text("Waiting")
    assert looks == []  # each look shows the state after the one before it
    jobs.let_go.set()
    await expect(state).to_have_text("Done")


# Documents


async def test_a_list_from_before_a_deletion_does_not_bring_the_document_back(
    scripted_page: Page,
) -> None:
    await open_section(scripted_page, "Documents")
    await expect(scripted_page.locator(".document")).to_have_count(2)
    await expect(scripted_page.get_by_text("Loading…")).to_have_count(0)
    documents = await hold(scripted_page, "**/v1/documents?*")
    await open_section(scripted_page, "Ask")
    await open_section(scripted_page, "Documents")
    await documents.came.wait()
    await delete(scripted_page, "Returns")
    await expect(scripted_page.locator(".document")).to_have_count(1)
    documents.let_go.set()
    await expect(scripted_page.get_by_text("Loading…")).to_have_count(0)
    await expect(scripted_page.locator(".document")).to_have_count(1)


async def test_a_list_that_is_read_again_leaves_the_focus_where_it_is(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await open_section(scripted_page, "Documents")
    await expect(scripted_page.locator(".document")).to_have_count(2)
    await expect(scripted_page.get_by_text("Loading…")).to_have_count(0)
    stand_in.add("help", "new.md", "New", "New")
    documents = await hold(scripted_page, "**/v1/documents?*")
    await open_section(scripted_page, "Ask")
    await open_section(scripted_page, "Documents")
    await documents.came.wait()
    remove = scripted_page.get_by_role("button", name="Delete Returns")
    await remove.focus()
    documents.let_go.set()
    await expect(scripted_page.locator(".document")).to_have_count(3)
    await expect(remove).to_be_focused()


async def test_a_deletion_that_takes_long_is_asked_for_once_and_does_not_take_the_focus(
    scripted_page: Page,
) -> None:
    await scripted_page.get_by_role("link", name="Documents").click()
    deletion = await hold(scripted_page, "**/v1/documents/*")
    await delete(scripted_page, "Returns")
    await deletion.came.wait()
    await scripted_page.get_by_role("button", name="Delete Returns").click()
    await expect(scripted_page.get_by_role("dialog")).to_have_count(0)
    field = scripted_page.get_by_label("Who may read them")
    await field.focus()
    deletion.let_go.set()
    await expect(scripted_page.locator(".document")).to_have_count(1)
    await expect(field).to_be_focused()
    await expect(scripted_page.get_by_role("alert").filter(has_text="document")).to_have_count(0)


async def test_counts_from_before_a_deletion_are_not_shown_after_it(scripted_page: Page) -> None:
    await scripted_page.get_by_role("link", name="Documents").click()
    collections = await hold(scripted_page, "**/v1/collections")
    await delete(scripted_page, "Returns")
    await collections.came.wait()
    await delete(scripted_page, "Delivery")
    options = scripted_page.locator("#collection option")
    await expect(options).to_have_text(["products (1)"])
    await let_go(scripted_page, collections)
    await expect(options).to_have_text(["products (1)"])
    await expect(scripted_page.get_by_role("heading", name="Documents in products")).to_be_visible()


async def test_counts_that_could_not_be_read_are_no_longer_complained_of_once_they_are(
    scripted_page: Page,
) -> None:
    await scripted_page.get_by_role("link", name="Documents").click()
    await expect(scripted_page.locator(".document")).to_have_count(2)
    await scripted_page.route(
        "**/v1/collections", lambda route: route.fulfill(status=500, body=""), times=1
    )
    await delete(scripted_page, "Returns")
    alert = scripted_page.locator("#documents").get_by_role("alert")
    await alert.get_by_role("button", name="Try again").click()
    await expect(scripted_page.locator("#collection option:checked")).to_have_text("help (1)")
    await expect(alert).to_have_count(0)


# Questions


async def test_a_search_before_the_server_has_answered_waits_for_its_collection(
    scripted_page: Page,
) -> None:
    collections = await hold(scripted_page, "**/v1/collections")
    await scripted_page.reload()
    await scripted_page.get_by_role("link", name="Search").click()
    await scripted_page.get_by_label("Search for").fill(QUESTION)
    await scripted_page.keyboard.press("Enter")
    await expect(scripted_page.get_by_text("no collection to search yet")).to_be_visible()
    collections.let_go.set()
    await expect(scripted_page.locator(".hit").first).to_contain_text(EVIDENCE)


async def test_a_question_right_after_a_conversation_was_cleared_is_asked(
    stand_in: StandIn, scripted_page: Page
) -> None:
    stand_in.answers.append([asyncio.Event()])
    await send(scripted_page, QUESTION)
    await expect(scripted_page.locator(".exchange")).to_have_attribute("aria-busy", "true")
    # Quicker than any hand: before the page has heard that its request has ended.
    await scripted_page.evaluate(
        """() => {
          document.querySelector(".new-conversation").click();
          document.querySelector(".example").click();
        }"""
    )
    await expect(scripted_page.locator(".exchange")).to_have_count(1)
    await expect(scripted_page.locator(".kind")).to_be_visible()
    await expect(scripted_page.locator("#announcer")).to_contain_text("Extract")


async def test_an_answer_is_asked_for_again_when_the_one_under_way_is_complete(
    stand_in: StandIn, scripted_page: Page
) -> None:
    stand_in.failures.append(Overloaded("Too many questions at once."))
    await send(scripted_page, QUESTION)
    again = scripted_page.get_by_role("button", name="Try again")
    await expect(again).to_be_visible()
    gate = asyncio.Event()
    stand_in.answers.append([gate, *stand_in.read({"collection": "help", "question": QUESTION})])
    await send(scripted_page, "And then?")
    await expect(scripted_page.locator(".exchange").last).to_have_attribute("aria-busy", "true")
    await again.click()
    await again.click()
    gate.set()
    await expect(scripted_page.locator(".kind")).to_have_count(2)
    await expect(scripted_page.locator(".question")).to_have_text(["And then?", QUESTION])


async def test_an_example_stays_in_hand_while_the_documents_are_counted_again(
    stand_in: StandIn, scripted_page: Page
) -> None:
    example = scripted_page.locator(".example").first
    await example.focus()
    stand_in.add("help", "new.md", "New", "New")
    await scripted_page.evaluate(REFRESH)
    await expect(scripted_page.get_by_text("3 documents in help")).to_be_visible()
    await expect(example).to_be_focused()


async def test_the_second_half_of_a_double_click_does_nothing(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await ask(scripted_page, QUESTION)
    await scripted_page.locator("button.citation").first.dblclick()
    await expect(scripted_page.get_by_role("dialog").locator("mark")).to_contain_text(EVIDENCE)
    await scripted_page.keyboard.press("Escape")
    gate = asyncio.Event()
    stand_in.answers.append([gate, *stand_in.read({"collection": "help", "question": QUESTION})])
    await send(scripted_page, "And then?")
    stop = scripted_page.get_by_role("button", name="Stop")
    await stop.dispatch_event("click", {"detail": 2})
    gate.set()
    await expect(scripted_page.locator(".kind")).to_have_count(2)
    await scripted_page.get_by_role("link", name="Documents").click()
    await scripted_page.get_by_role("button", name="Delete Returns").click()
    sure = scripted_page.get_by_role("dialog").get_by_role("button", name="Delete")
    await sure.dispatch_event("click", {"detail": 2})
    await expect(sure).to_be_visible()


# The server and the key


async def test_a_key_is_not_asked_for_twice_by_requests_that_were_sent_together(
    stand_in: StandIn, scripted_page: Page
) -> None:
    async with scripted_page.expect_response("**/v1/jobs"):
        await open_section(scripted_page, "Documents")
    stand_in.key = "rs_secret"
    jobs = await hold(scripted_page, "**/v1/jobs")
    await scripted_page.reload()
    await jobs.came.wait()
    await scripted_page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    jobs.let_go.set()
    alert = scripted_page.locator("#documents").get_by_role("alert")
    await expect(alert).to_contain_text("This server needs an API key.")
    await expect(scripted_page.get_by_role("dialog")).to_have_count(0)


async def test_how_the_server_was_is_not_shown_over_how_it_is(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await expect(scripted_page.get_by_label("Your question")).to_be_visible()
    calm = stand_in.status
    stand_in.status = msgspec.structs.replace(calm, rung="fewer_passages", level=2)
    look = "document.dispatchEvent(new Event('visibilitychange'))"
    busy = await hold(scripted_page, "**/v1/status")
    await scripted_page.evaluate(look)
    await busy.came.wait()
    stand_in.status = calm
    async with scripted_page.expect_event("requestfinished"):
        await scripted_page.evaluate(look)
    await let_go(scripted_page, busy)
    await expect(scripted_page.locator("#server-status")).to_have_text("")


async def test_a_try_that_was_overtaken_does_not_report_its_failure(
    browser: Browser, scripted_url: str
) -> None:
    failing = asyncio.Event()

    async def fail(route: Route) -> None:
        await failing.wait()
        await route.fulfill(status=500, body="")

    async with opened(browser, scripted_url) as page:
        await page.route("**/v1/collections", fail, times=1)
        await page.reload()
        await page.evaluate(REFRESH)
        await expect(page.get_by_label("Your question")).to_be_visible()
        async with page.expect_response(lambda response: response.status == 500):
            failing.set()
        await ask(page, QUESTION)
        await expect(page.locator("#connection")).to_have_text("")

"""The page against a server that says exactly what a test prescribes."""

import asyncio
from datetime import datetime, timedelta

import msgspec
import pytest
from playwright.async_api import Browser, Page, expect

from ragstone.domain.answer import Delta, Done
from ragstone.domain.errors import (
    ModelUnreachable,
    Overloaded,
    PayloadTooLarge,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.passage import Passage
from ragstone.domain.usage import Charge, Receipt, Usage
from ragstone.server.status import DependencyStatus
from tests.console.browsing import ask, choose_files, job, opened, send, served
from tests.console.corpus import EVIDENCE, QUESTION
from tests.console.stand_in import StandIn, Step, citation, script

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ATTACK = '<img src=x onerror="document.title=1">[click](javascript:alert(1))![x](http://evil/)'


def passages(stand_in: StandIn) -> list[Passage]:
    return stand_in.find("help", QUESTION, 5)


def answered(stand_in: StandIn, text: str, *degraded: str) -> list[Step]:
    """A script whose answer is `text`, citing the best passage as 1."""
    found = passages(stand_in)
    return script(text, found, [citation(1, found[0])], degraded=degraded)


# What it cost


async def test_cost_savings_and_age_are_told_in_small_print(
    stand_in: StandIn, scripted_page: Page
) -> None:
    charge = Charge(
        kind="generation", model="m", usage=Usage(input_tokens=900, output_tokens=40),
        nanodollars=420_000, price="configured",
    )  # fmt: skip
    receipt = Receipt(
        nanodollars=420_000, charges=[charge, charge], shared_by=3, standing="economy",
        saved_nanodollars={"prompt_cache": 31_000},
    )  # fmt: skip
    found = passages(stand_in)
    cited = [citation(1, found[0])]
    stand_in.answers.append(script("Thirty days [1].", found, cited, receipt=receipt))
    await send(scripted_page, QUESTION)
    making = scripted_page.locator(".making")
    await expect(making.locator("summary")).to_contain_text("$0.00042)")
    await making.locator("summary").click()
    await expect(making).to_contain_text("$0.00042, in 2 calls, shared by 3")
    await expect(making).to_contain_text("$0.000031 by the provider's prompt cache")
    await expect(making).to_contain_text("nearly spent, so the cheapest model is asked")

    saved = Receipt(saved_nanodollars={"answer_cache": 2_500_000_000})
    stand_in.answers.append(script("Thirty days [1].", found, cited, receipt=saved, age=42.1))
    await send(scripted_page, "And now?")
    making = scripted_page.locator(".making").last
    await expect(making.locator("summary")).to_contain_text("made before)")
    await making.locator("summary").click()
    await expect(making).to_contain_text("made 43 seconds ago for an equal question")
    await expect(making).to_contain_text("$2.50 by an answer made before")


# Streaming


async def test_words_appear_as_they_come_and_are_announced_once_at_the_end(
    stand_in: StandIn, scripted_page: Page
) -> None:
    gate = asyncio.Event()
    steps = answered(stand_in, "Thirty days [1].")
    stand_in.answers.append([steps[0], Delta("Thirty "), gate, *steps[2:]])
    await send(scripted_page, QUESTION)
    exchange = scripted_page.locator(".exchange")
    await expect(exchange.locator(".answer-text")).to_have_text("Thirty")
    await expect(exchange).to_have_attribute("aria-busy", "true")
    await expect(scripted_page.locator("#announcer")).to_have_text("")
    gate.set()
    await expect(exchange.locator(".kind")).to_be_visible()
    await expect(exchange).not_to_have_attribute("aria-busy", "true")
    await expect(scripted_page.locator("#announcer")).to_contain_text("1 source.")


async def test_stop_ends_the_request_and_keeps_what_came(
    stand_in: StandIn, scripted_page: Page
) -> None:
    steps = answered(stand_in, "Thirty days [1].")
    stand_in.answers.append([steps[0], Delta("Thirty days"), asyncio.Event()])
    await send(scripted_page, QUESTION)
    await expect(scripted_page.locator(".answer-text")).to_have_text("Thirty days")
    await scripted_page.get_by_role("button", name="Stop").click()
    await stand_in.left.wait()
    exchange = scripted_page.locator(".exchange")
    await expect(exchange).to_contain_text("This answer is incomplete.")
    await expect(exchange.locator(".answer-text")).to_have_text("Thirty days")
    await exchange.get_by_role("button", name="Ask again").click()
    await expect(scripted_page.locator(".kind")).to_be_visible()
    assert "conversation" not in stand_in.asked[-1]


async def test_an_answer_that_breaks_off_is_kept_and_called_incomplete(
    stand_in: StandIn, scripted_page: Page
) -> None:
    stand_in.answers.append(answered(stand_in, "Thirty days [1].")[:3])
    await send(scripted_page, QUESTION)
    exchange = scripted_page.locator(".exchange")
    await expect(exchange.get_by_role("alert")).to_contain_text("connection was lost")
    await expect(exchange.locator(".answer-text")).to_have_text("Thirty days")
    await expect(exchange).to_contain_text("This answer is incomplete.")


# Failures


async def test_an_error_in_the_stream_is_shown_with_its_remedy_and_can_be_retried(
    stand_in: StandIn, scripted_page: Page
) -> None:
    failure = ModelUnreachable("The model does not answer.", remedy="Start it.", retry_after=2.2)
    stand_in.answers.append([answered(stand_in, "x")[0], failure])
    await send(scripted_page, QUESTION)
    alert = scripted_page.locator(".exchange").get_by_role("alert")
    await expect(alert).to_contain_text("The model does not answer.")
    await expect(alert).to_contain_text("Start it.")
    await expect(alert).to_contain_text("Wait 3 seconds")
    await expect(alert).to_contain_text("model_unreachable · trace 4bf92f35")
    await alert.get_by_role("button", name="Try again").click()
    await expect(scripted_page.locator(".answer-text")).to_contain_text(EVIDENCE)
    await expect(scripted_page.locator(".exchange")).to_have_count(1)


async def test_a_refusal_before_the_stream_is_shown_in_place(
    stand_in: StandIn, scripted_page: Page
) -> None:
    stand_in.failures.append(Overloaded("Too many questions at once.", retry_after=1))
    await send(scripted_page, QUESTION)
    alert = scripted_page.locator(".exchange").get_by_role("alert")
    await expect(alert).to_contain_text("Too many questions at once.")
    await expect(alert).to_contain_text("Wait 1 second before")


@pytest.mark.parametrize("refusal", [Overloaded, TooManyRequests])
async def test_after_a_refusal_the_button_counts_down_what_the_server_asked_to_wait(
    stand_in: StandIn, scripted_page: Page, refusal: type[Overloaded] | type[TooManyRequests]
) -> None:
    await scripted_page.clock.install()
    await scripted_page.clock.pause_at(datetime.now() + timedelta(hours=1))
    stand_in.failures.append(refusal("Not now.", retry_after=41.5))
    await send(scripted_page, QUESTION)
    again = scripted_page.locator(".exchange").get_by_role("button", name="Try again")
    await expect(again).to_be_disabled()
    await expect(again).to_contain_text("in 42 s")
    await scripted_page.clock.run_for(2_000)
    await expect(again).to_contain_text("in 40 s")
    await scripted_page.clock.run_for(40_000)
    await expect(again).to_be_enabled()
    await scripted_page.clock.resume()
    await again.click()
    await expect(scripted_page.locator(".answer-text")).to_contain_text(EVIDENCE)


async def test_an_answer_that_the_servers_stop_cut_off_is_kept_and_can_be_asked_again(
    stand_in: StandIn, scripted_page: Page
) -> None:
    steps = answered(stand_in, "Thirty days [1].")
    stop = ShuttingDown("The server is stopping; the answer was cut off.", retry_after=1.0)
    stand_in.answers.append([steps[0], Delta("Thirty days"), stop])
    await send(scripted_page, QUESTION)
    exchange = scripted_page.locator(".exchange")
    await expect(exchange.locator(".answer-text")).to_have_text("Thirty days")
    await expect(exchange).to_contain_text("This answer is incomplete.")
    await expect(exchange.get_by_role("alert")).to_contain_text("The server is being restarted.")
    await exchange.get_by_role("button", name="Try again").click()
    await expect(exchange.locator(".answer-text")).to_contain_text(EVIDENCE)


# How the server is doing


async def test_a_line_says_what_everybody_gets_less_of_until_it_is_over(
    stand_in: StandIn, scripted_page: Page
) -> None:
    line = scripted_page.locator("#server-status")
    await expect(line).to_have_text("")
    calm = stand_in.status
    stand_in.status = msgspec.structs.replace(
        calm,
        rung="fewer_passages",
        level=2,
        dependencies=[
            DependencyStatus("model_2", "open", 0),
            DependencyStatus("embedder", "half_open", 0),
            DependencyStatus("index", "closed", 0),
        ],
    )
    await scripted_page.clock.install()
    await scripted_page.reload()
    await expect(line).to_have_text(
        "The server is busy: answers rest on fewer passages for now. "
        "The embedding model does not answer: only matching words are searched."
    )
    stand_in.status = calm
    await scripted_page.clock.run_for(10_000)
    await expect(line).to_have_text("")


async def test_a_page_that_cannot_be_seen_does_not_ask_how_the_server_is(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await scripted_page.clock.install()
    await scripted_page.goto("about:blank")  # so that no answer to the page before is awaited
    async with scripted_page.expect_response("**/v1/status"):
        await scripted_page.goto("/")
    await expect(scripted_page.get_by_label("Your question")).to_be_visible()
    asked: list[str] = []
    scripted_page.on("request", lambda request: asked.append(request.url))
    see = """hidden => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    await scripted_page.evaluate(see, True)
    await scripted_page.clock.run_for(600_000)
    assert asked == []
    async with scripted_page.expect_response("**/v1/status"):
        await scripted_page.evaluate(see, False)


async def test_a_look_at_the_server_that_fails_is_not_shown(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await scripted_page.route("**/v1/status", lambda route: route.fulfill(status=404, body=""))
    async with scripted_page.expect_response(lambda response: response.status == 404):
        await scripted_page.reload()
    await ask(scripted_page, QUESTION)
    await expect(scripted_page.locator("#server-status")).to_have_text("")
    await expect(scripted_page.get_by_role("alert").filter(has_text="404")).to_have_count(0)


async def test_a_server_that_has_gone_is_reported_and_can_come_back(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await expect(scripted_page.get_by_label("Your question")).to_be_visible()
    await scripted_page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    await send(scripted_page, QUESTION)
    banner = scripted_page.locator("#connection")
    await expect(banner).to_contain_text("No connection to the server.")
    await expect(scripted_page.locator(".exchange")).to_contain_text("cannot be reached")
    await scripted_page.unroute("**/v1/**")
    await banner.get_by_role("button", name="Try again").click()
    await expect(banner).to_have_text("")


async def test_an_answer_from_something_else_than_the_server_is_an_error_not_an_answer(
    scripted_page: Page,
) -> None:
    await scripted_page.route(
        "**/v1/answers", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>")
    )
    await send(scripted_page, QUESTION)
    alert = scripted_page.locator(".exchange").get_by_role("alert")
    await expect(alert).to_contain_text("The server answered with status 502.")


async def test_a_failed_upload_is_shown_for_its_file_and_can_be_sent_again(
    stand_in: StandIn, scripted_page: Page
) -> None:
    stand_in.failures.append(PayloadTooLarge("The file has 60,000,000 bytes.", remedy="Split it."))
    await scripted_page.get_by_role("link", name="Documents").click()
    await choose_files(scripted_page, {"big.md": b"Big"})
    row = job(scripted_page, "big.md")
    await expect(row.get_by_role("alert")).to_contain_text("60,000,000 bytes.")
    await row.get_by_role("button", name="Try again").click()
    await expect(row.locator(".job-state")).to_have_text("Done")


async def test_dropped_files_are_uploaded(stand_in: StandIn, scripted_page: Page) -> None:
    await scripted_page.get_by_role("link", name="Documents").click()
    transfer = await scripted_page.evaluate_handle(
        """() => {
          const transfer = new DataTransfer();
          transfer.items.add(new File(["One"], "one.md"));
          transfer.items.add(new File(["Two"], "two.md"));
          return transfer;
        }"""
    )
    await scripted_page.dispatch_event(".drop-zone", "drop", {"dataTransfer": transfer})
    for name in ("one.md", "two.md"):
        await expect(job(scripted_page, name).locator(".job-state")).to_have_text("Done")


async def test_a_running_job_shows_how_far_it_is(stand_in: StandIn, scripted_page: Page) -> None:
    stand_in.hold_jobs = True
    await scripted_page.get_by_role("link", name="Documents").click()
    await choose_files(scripted_page, {"care.md": b"Cold water"})
    row = job(scripted_page, "care.md")
    await expect(row.locator(".job-state")).to_have_text("Reading")
    await expect(row).to_contain_text("1 of 4 documents: 1 added · 3 chunks")
    bar = row.get_by_role("progressbar", name="Progress of care.md")
    await expect(bar).to_have_js_property("value", 1)
    await expect(bar).to_have_js_property("max", 4)
    stand_in.hold_jobs = False
    await expect(row.locator(".job-state")).to_have_text("Done")
    await expect(bar).to_have_count(0)


async def test_of_many_jobs_those_that_failed_are_never_hidden(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await scripted_page.get_by_role("link", name="Documents").click()
    await choose_files(scripted_page, {"bad.md": b"\xff\xfe\x00"})
    await expect(scripted_page.locator(".job.failed")).to_be_visible()
    await choose_files(scripted_page, {f"good-{n}.md": b"Good" for n in range(6)})
    await expect(scripted_page.locator(".job.done")).to_have_count(6)
    await expect(scripted_page.locator(".job.done:visible")).to_have_count(3)
    await expect(scripted_page.locator(".job.failed")).to_be_visible()
    await scripted_page.get_by_role("button", name="Show all 7").click()
    await expect(scripted_page.locator(".job.done:visible")).to_have_count(6)


# What is said about an answer


async def test_what_was_left_out_is_said_in_plain_words(
    stand_in: StandIn, scripted_page: Page
) -> None:
    rungs = ("reranker_skipped", "something_new")
    stand_in.answers.append(answered(stand_in, "Thirty days [1].", *rungs))
    await ask(scripted_page, QUESTION)
    notices = scripted_page.locator(".notices .notice")
    await expect(notices).to_have_count(2)
    await expect(notices.first).to_contain_text("were not re-ranked")
    await expect(notices.last).to_contain_text("something new")


async def test_passages_without_an_answer_are_there_to_read(
    stand_in: StandIn, scripted_page: Page
) -> None:
    sentence = "There is no room for an answer just now."
    found = passages(stand_in)
    steps = script(sentence, found, [], degraded=("passages_only",))
    done = steps[-1]
    assert isinstance(done, Done)
    stand_in.answers.append(
        [*steps[:-1], Done(msgspec.structs.replace(done.answer, answer_kind="passages"))]
    )
    await ask(scripted_page, QUESTION)
    exchange = scripted_page.locator(".exchange")
    await expect(exchange.locator(".kind")).to_have_text("Passages without an answer")
    await expect(exchange.locator(".answer-text")).to_have_text(sentence)
    await expect(exchange.locator(".notices")).to_have_text("")
    await expect(exchange.locator(".source:visible")).to_have_count(len(found))
    await expect(exchange.locator(".source-quote").first).to_contain_text(EVIDENCE)
    await exchange.locator(".source-title").first.click()
    await expect(scripted_page.get_by_role("dialog").locator("mark")).to_be_visible()


async def test_a_generated_answer_names_its_model(stand_in: StandIn, scripted_page: Page) -> None:
    steps = answered(stand_in, "Thirty days [1].")
    done = steps[-1]
    assert isinstance(done, Done)
    answer = msgspec.structs.replace(done.answer, answer_kind="generated", model="llama-3.1-8b")
    stand_in.answers.append([*steps[:-1], Done(answer)])
    await ask(scripted_page, QUESTION)
    await expect(scripted_page.locator(".kind")).to_have_text("Generated by llama-3.1-8b")


async def test_a_number_that_cites_nothing_is_no_button(
    stand_in: StandIn, scripted_page: Page
) -> None:
    stand_in.answers.append(answered(stand_in, "Thirty days [1], or so [7]."))
    await ask(scripted_page, QUESTION)
    await expect(scripted_page.locator("button.citation")).to_have_count(1)
    await expect(scripted_page.locator(".citation.pending")).to_have_text("7")


async def test_the_evidence_stays_readable_when_its_document_has_gone(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await ask(scripted_page, QUESTION)
    stand_in.documents.clear()
    await scripted_page.locator("button.citation").first.click()
    panel = scripted_page.get_by_role("dialog")
    await expect(panel.get_by_role("alert")).to_contain_text("There is no such document.")
    await expect(panel.locator("mark")).to_contain_text(EVIDENCE)


async def test_the_page_says_when_the_cited_words_are_no_longer_in_the_document(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await ask(scripted_page, QUESTION)
    stand_in.texts = dict.fromkeys(stand_in.texts, "Something else entirely.")
    await scripted_page.locator("button.citation").first.click()
    panel = scripted_page.get_by_role("dialog")
    await expect(panel).to_contain_text("The document has changed")
    await expect(panel.locator("mark")).to_contain_text(EVIDENCE)
    await expect(panel).to_contain_text("Something else entirely.")


# Security


async def test_markup_in_titles_answers_and_passages_stays_text(
    stand_in: StandIn, scripted_page: Page
) -> None:
    stand_in.add("help", f"{ATTACK}.md", ATTACK, f"zeppelin {ATTACK}")
    await scripted_page.reload()
    fetched: list[str] = []
    scripted_page.on("request", lambda request: fetched.append(request.url))
    await ask(scripted_page, f"zeppelin? {ATTACK}")
    await expect(scripted_page.locator(".answer-text")).to_contain_text(ATTACK)
    await expect(scripted_page.locator(".question")).to_contain_text(ATTACK)
    await expect(scripted_page.locator(".source-title").first).to_have_text(ATTACK)
    await expect(scripted_page.locator(".exchange img, .exchange a")).to_have_count(0)
    await scripted_page.locator("button.citation").first.click()
    panel = scripted_page.get_by_role("dialog")
    await expect(panel.locator("mark")).to_have_text(f"zeppelin {ATTACK}")
    await expect(panel.locator("img, a")).to_have_count(0)
    await scripted_page.keyboard.press("Escape")
    await scripted_page.get_by_role("link", name="Documents").click()
    await expect(scripted_page.locator(".document-title", has_text=ATTACK)).to_be_visible()
    await expect(scripted_page).to_have_title("Documents · Ragstone")
    assert not [url for url in fetched if "evil" in url or url.endswith("/x")]


async def test_the_browser_itself_refuses_to_make_markup_of_text(scripted_page: Page) -> None:
    refused = await scripted_page.evaluate(
        """() => {
          try {
            document.body.innerHTML = "<b>x</b>";
          } catch (error) {
            return error.name;
          }
        }"""
    )
    assert refused == "TypeError"


async def test_a_server_with_keys_is_asked_again_with_the_key_that_was_typed(
    browser: Browser, stand_in: StandIn, scripted_url: str
) -> None:
    stand_in.key = "rs_secret"
    async with opened(browser, scripted_url) as page:
        dialog = page.get_by_role("dialog", name="This server asks for an API key")
        await expect(dialog.get_by_label("API key", exact=True)).to_be_focused()
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")
        await expect(dialog).to_contain_text("That key was not accepted.")
        await page.keyboard.type("rs_secret")
        await page.keyboard.press("Enter")
        await expect(dialog).to_have_count(0)
        await ask(page, QUESTION)
        await page.reload()
        await ask(page, QUESTION)
        await expect(page.get_by_role("button", name="Change API key")).to_be_visible()
        kept = "[Object.values(localStorage), Object.values(sessionStorage), document.cookie]"
        assert await page.evaluate(kept) == [[], ["rs_secret"], ""]


async def _give_key(page: Page, key: str) -> None:
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key", exact=True).fill(key)
    await page.keyboard.press("Enter")
    await expect(dialog).to_have_count(0)


async def test_with_another_key_nothing_stays_of_what_the_old_one_read(
    stand_in: StandIn, scripted_page: Page
) -> None:
    stand_in.key = "rs_one"
    await scripted_page.reload()
    await _give_key(scripted_page, "rs_one")
    await ask(scripted_page, QUESTION)
    stand_in.key = "rs_other"
    await scripted_page.get_by_role("button", name="Change API key").click()
    await _give_key(scripted_page, "rs_other")
    await expect(scripted_page.get_by_text("Ask your documents")).to_be_visible()
    await expect(scripted_page.get_by_text(EVIDENCE)).to_have_count(0)


async def test_without_a_key_the_page_says_what_the_server_wants(
    browser: Browser, stand_in: StandIn, scripted_url: str
) -> None:
    stand_in.key = "rs_secret"
    async with opened(browser, scripted_url) as page:
        await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        await expect(page.locator("#connection")).to_contain_text("This server needs an API key.")


# Beginnings and amounts


async def test_an_empty_server_explains_how_documents_get_in(browser: Browser) -> None:
    async with served(StandIn().app) as url, opened(browser, url) as page:
        await expect(page.get_by_text("ragstone ingest ./docs")).to_be_visible()
        await page.get_by_role("link", name="upload documents here").click()
        await page.get_by_label("Into collection").fill("notes")
        await choose_files(page, {"first.md": b"The very first."})
        await expect(page.locator(".document")).to_contain_text("first.md")
        await page.get_by_role("link", name="Ask").click()
        await ask(page, "What was very first?")
        await expect(page.locator(".answer-text")).to_contain_text("The very first.")


async def test_an_example_question_is_asked_by_clicking_it(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await scripted_page.get_by_role("button", name="How many days do I have").click()
    await expect(scripted_page.locator(".kind")).to_be_visible()
    assert stand_in.asked[0]["question"] == "How many days do I have to return a sale item?"


async def test_a_new_conversation_forgets_the_old_one(
    stand_in: StandIn, scripted_page: Page
) -> None:
    await ask(scripted_page, QUESTION)
    await scripted_page.get_by_role("button", name="New conversation").click()
    await expect(scripted_page.locator(".exchange")).to_have_count(0)
    await ask(scripted_page, QUESTION)
    assert "conversation" not in stand_in.asked[-1]


async def test_documents_come_page_by_page(stand_in: StandIn, scripted_page: Page) -> None:
    for number in range(30):
        stand_in.add("help", f"guide-{number}.md", f"Guide {number}", "Care")
    await scripted_page.get_by_role("link", name="Documents").click()
    await expect(scripted_page.locator(".document")).to_have_count(20)
    await scripted_page.get_by_role("button", name="Show more").click()
    await expect(scripted_page.locator(".document")).to_have_count(32)
    await expect(scripted_page.get_by_role("button", name="Show more")).to_have_count(0)


async def test_a_book_is_drawn_around_the_cited_words_and_extended_on_demand(
    stand_in: StandIn, scripted_page: Page
) -> None:
    chapters = [f"Chapter {n}. " + "And so on, at length. " * 400 for n in range(40)]
    chapters[20] = "The zeppelin lands \N{AIRPLANE}\N{WRAPPED PRESENT} here."
    stand_in.add("help", "book.md", "Book", "\n\n".join(chapters))
    await ask(scripted_page, "Where does the zeppelin land, and lands it here?")
    await scripted_page.locator("button.citation").first.click()
    panel = scripted_page.get_by_role("dialog")
    await expect(panel.locator("mark")).to_have_text(chapters[20])
    assert "Chapter 1." not in str(await panel.text_content())
    for side in ("earlier", "later"):
        more = panel.get_by_role("button", name=f"Show {side} text")
        while await more.count():
            await more.click()
    text = await panel.locator(".document-text").text_content()
    assert text == "\n\n".join(chapters)

"""Single modules of the page, run in the browser."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.console.browsing import opened, served
from tests.console.stand_in import StandIn

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

EVENTS = """async ([pieces]) => {
  const { serverSentEvents } = await import("./console/sse.js");
  const body = new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new Uint8Array(piece));
      controller.close();
    },
  });
  const events = [];
  for await (const event of serverSentEvents(body)) events.push(event);
  return events;
}"""

MARKDOWN = """async ([text]) => {
  const { renderMarkdown } = await import("./console/markdown.js");
  const root = document.createElement("div");
  root.append(renderMarkdown(text, (number) => document.createTextNode(`<${number}>`)));
  const told = (node) => node.nodeType === Node.TEXT_NODE
    ? node.data
    : `(${node.localName} ${[...node.childNodes].map(told).join("")})`;
  return [...root.childNodes].map(told).join(" ");
}"""

OFFSETS = """async ([text, offsets]) => {
  const { codeUnitOffsets } = await import("./console/offsets.js");
  const units = codeUnitOffsets(text, offsets);
  return [text.slice(units[0], units[1])];
}"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def bench(browser: Browser) -> AsyncIterator[Page]:
    """One page for all: its modules are called, it is not used."""
    async with served(StandIn().app) as url, opened(browser, url) as page:
        yield page


async def run(page: Page, script: str, *arguments: Any) -> Any:
    return await page.evaluate(script, list(arguments))


async def test_events_are_the_same_however_the_bytes_are_cut(bench: Page) -> None:
    stream = (
        ': keep-alive\n\nevent: delta\ndata: {"text": "é\N{WRAPPED PRESENT}"}\n\n'
        "data: one\r\ndata:two\r\n\r\nevent: done\rdata: end\r\rdata: never finished"
    ).encode()
    expected = [
        {"name": "delta", "data": '{"text": "é\N{WRAPPED PRESENT}"}'},
        {"name": "message", "data": "one\ntwo"},
        {"name": "done", "data": "end"},
    ]
    for size in (1, 2, 3, 7, len(stream)):
        pieces = [list(stream[at : at + size]) for at in range(0, len(stream), size)]
        assert await run(bench, EVENTS, pieces) == expected, size


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("One\ntwo\n\nthree", "(p One two) (p three)"),
        ("**bold** and *soft* and `a*b*c`", "(p (strong bold) and (em soft) and (code a*b*c))"),
        ("- a\n- b\n  more", "(ul (li a)(li b more))"),
        ("3. a\n\n4. b", "(ol (li a)(li b))"),
        ("Before:\n1. a\nafter", "(p Before:) (ol (li a after))"),
        ("```py\nx = [1]\n```\nrest", "(pre (code x = [1])) (p rest)"),
        ("```\nnever closed", "(pre (code never closed))"),
        ("## Title\ntext", "(p Title) (p text)"),
        ("Said [1]. Both [1, 2][3]", "(p (span Said<1>). (span Both<1><2>)(span <3>))"),
        ("**Bold [1]**", "(p (strong (span Bold<1>)))"),
        ("[text](http://a) ![i](b)", "(p [text](http://a) ![i](b))"),
        ("<b>x</b> &amp;", "(p <b>x</b> &amp;)"),
        ("2 * 3 * 4 and snake_case_name", "(p 2 * 3 * 4 and snake_case_name)"),
        ("array[0] costs [12345]", "(p (span array<0>) costs [12345])"),
        ("", ""),
    ],
)
async def test_markdown_becomes_elements(bench: Page, text: str, told: str) -> None:
    assert await run(bench, MARKDOWN, text) == told


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("plain", 1, 3),
        ("\N{WRAPPED PRESENT}ab", 1, 2),
        ("a\N{WRAPPED PRESENT}b\N{WRAPPED PRESENT}c", 2, 4),
        ("short", 3, 99),
        ("\N{WRAPPED PRESENT}", 0, 99),
    ],
)
async def test_spans_in_code_points_cut_the_same_text_as_in_python(
    bench: Page, text: str, start: int, end: int
) -> None:
    assert await run(bench, OFFSETS, text, [start, end]) == [text[start:end]]

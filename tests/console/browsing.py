"""Servers on the loopback interface, pages that open them, and what people do there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from playwright.async_api import Browser, FilePayload, Locator, Page, Route, expect
from starlette.types import ASGIApp

PATIENCE_MS = 120_000
"""Of what is waited for; a machine with other work to do may take long, and nothing here is about
speed."""
expect.set_options(timeout=PATIENCE_MS)


class _QuietServer(uvicorn.Server):
    """Leaves the signal handlers to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The address at which `app` is served, on a free port of the loopback interface."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="none"
    )
    server = _QuietServer(config)
    socket = config.bind_socket()
    socket.listen()  # who comes before the server has started waits, and is not refused
    serving = asyncio.create_task(server.serve([socket]))
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await serving
        socket.close()


@dataclass(frozen=True)
class Site:
    """A running server with the documents of `corpus`."""

    base_url: str


@asynccontextmanager
async def opened(browser: Browser, url: str, **context_options: object) -> AsyncIterator[Page]:
    """A page in a fresh profile; a script error or a breach of the policy fails the test."""
    context = await browser.new_context(base_url=url, **context_options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    try:
        await page.goto("/")
        yield page
        assert faults == []
    finally:
        await context.close()


async def send(page: Page, question: str) -> None:
    """Type a question and press Enter."""
    await page.get_by_label("Your question").fill(question)
    await page.keyboard.press("Enter")


async def ask(page: Page, question: str) -> None:
    """Ask, and wait until the answer is complete."""
    await send(page, question)
    await expect(page.get_by_role("heading", name=question)).to_be_visible()
    await expect(page.locator(".exchange").last.locator(".kind")).to_be_visible()


class Held:
    """A response as the server gave it, which the page gets no sooner than the test says."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        """The server has answered."""
        self.let_go = asyncio.Event()

    async def __call__(self, route: Route) -> None:
        response = await route.fetch()
        self.came.set()
        await self.let_go.wait()
        await route.fulfill(response=response)


async def hold(page: Page, url: str) -> Held:
    """Hold back the response to the next request for `url`."""
    held = Held()
    await page.route(url, held, times=1)
    return held


async def let_go(page: Page, held: Held) -> None:
    """Give `held` to the page, and wait until it has read it."""
    async with page.expect_event("requestfinished"):
        held.let_go.set()
    # What the page does with it comes before what it is asked now.
    await page.evaluate("() => new Promise((done) => setTimeout(done))")


def job(page: Page, name: str) -> Locator:
    """The job that reads the file of that name, also while its upload is still shown beside it."""
    return page.locator(".job", has_text=name).filter(has_not_text="Uploading")


async def choose_files(page: Page, files: dict[str, bytes]) -> None:
    """Pick files, given by name, in the documents section."""
    payloads: list[FilePayload] = [
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        for name, content in files.items()
    ]
    await page.get_by_label("Files to upload").set_input_files(payloads)

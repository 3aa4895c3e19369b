"""A headless Chromium and the servers whose page it opens.

Everything here lives on the session's event loop: start-up of a browser is the slow part.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.console.browsing import PATIENCE_MS, Site, opened, served
from tests.console.corpus import DOCUMENTS
from tests.console.stand_in import StandIn

CHROMIUM: Final = "/usr/bin/chromium"
ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def _stand_in_site() -> AsyncIterator[Site]:
    async with served(_filled(StandIn()).app) as base_url:
        yield Site(base_url)


def _filled(stand_in: StandIn) -> StandIn:
    for collection, documents in DOCUMENTS.items():
        for external_id, (title, text) in documents.items():
            stand_in.add(collection, external_id, title, text)
    return stand_in


@pytest_asyncio.fixture(loop_scope="session", params=["stand_in", "real"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """Every server that the page must work with."""
    if request.param == "stand_in":
        opening = _stand_in_site()
    else:
        # The engines behind it take a second to import, and only this needs them.
        from tests.console.real_site import real_site

        opening = real_site(tmp_path / "home")
    async with opening as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def stand_in() -> StandIn:
    """The server of `scripted_page`, for tests that prescribe what it says."""
    return _filled(StandIn())


@pytest_asyncio.fixture(loop_scope="session")
async def scripted_url(stand_in: StandIn) -> AsyncIterator[str]:
    async with served(stand_in.app) as base_url:
        yield base_url


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    if shutil.which(CHROMIUM) is None:
        reason = f"there is no {CHROMIUM}; install it with `apt-get install chromium`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE_MS
        )
        try:
            yield chromium
        finally:
            await chromium.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, site: Site) -> AsyncIterator[Page]:
    """The page of `site`."""
    async with opened(browser, site.base_url) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def scripted_page(browser: Browser, scripted_url: str) -> AsyncIterator[Page]:
    """The page of `stand_in`."""
    async with opened(browser, scripted_url) as page:
        yield page

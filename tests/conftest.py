"""What every test may ask for."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.clock import VirtualClock

UNHURRIED: Final = {
    "RAGSTONE_LADDER__ENABLED": "false",
    "RAGSTONE_ADMISSION__INTERVAL_SECONDS": "600",
}
"""Settings of servers that are not tested under load: what those leave out and refuse that have too
much to do, these must not because the machine of the tests is busy."""

# What an example takes says something about the machine, which may be busy.
settings.register_profile(
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that moves only when told."""
    return VirtualClock()


Logged = Callable[[str], list[structlog.typing.EventDict]]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Logged:
    """What the logger of that name, such as `ragstone.server.refusals._log`, says from now on.

    `structlog.testing.capture_logs` hears nothing of a logger that has been used: it keeps what
    another test of the same process had configured by then."""

    def lines_of(logger: str) -> list[structlog.typing.EventDict]:
        heard = structlog.testing.LogCapture()
        every_level = structlog.make_filtering_bound_logger(0)
        fresh = structlog.wrap_logger(None, processors=[heard], wrapper_class=every_level)
        monkeypatch.setattr(logger, fresh)
        return heard.entries

    return lines_of


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The judged sets beside the repository; a test that needs them is skipped without."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data is not there")
    return folder

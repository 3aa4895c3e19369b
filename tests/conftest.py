"""What every test may ask for."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.clock import VirtualClock

# What an example takes says something about the machine, which may be busy.
settings.register_profile(
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that moves only when told."""
    return VirtualClock()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The judged sets beside the repository; a test that needs them is skipped without."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data is not there")
    return folder

"""What every test may ask for."""

from pathlib import Path

import pytest

from tests.clock import VirtualClock


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

"""Processes read each other's numbers in the files of a folder."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.observe import cells
from ragstone.observe.cells import OwnMemory, SharedFolder, Store
from ragstone.observe.metrics import Metrics
from ragstone.observe.metrics_folder import FOLDER_VARIABLE, forget_process


def _in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _everything(store: Store) -> dict[tuple[str, tuple[str, ...]], list[float]]:
    (numbers,) = [found for found in store.read() if found] or [{}]
    return numbers


@given(
    st.lists(
        st.tuples(
            st.text(max_size=3).filter(str.isprintable),
            st.sampled_from([1, 19, 60, 9_000]),
            st.floats(allow_nan=False, allow_infinity=False),
        ),
        max_size=60,
    )
)
def test_a_folder_keeps_what_a_memory_keeps(added: list[tuple[str, int, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shared, own = SharedFolder(Path(folder)), OwnMemory()
        for name, size, value in added:
            for store in (shared, own):
                numbers = store.add((name, (str(size), name * 9)), size, lives=False)
                numbers[0] = value / 3
                numbers[size - 1] += value / 3
        assert _everything(shared) == _everything(own)


def test_what_numbers_are_written_into_is_on_the_disk(tmp_path: Path) -> None:
    """Else a disk that fills up ends whoever counts, by SIGBUS."""
    store = SharedFolder(tmp_path)
    for lives in (False, True):
        store.add(("some", ()), 20_000, lives=lives)
    for file in tmp_path.iterdir():
        assert file.stat().st_blocks * 512 >= file.stat().st_size > 160_000


def test_on_a_full_disk_it_counts_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = "/dev/full"
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (os.open(full, os.O_RDWR), full))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    metrics = Metrics()
    for _ in range(2):
        metrics.requests.labels("/v1/answers", "none", "ok").inc()
    assert metrics.requests.labels("/v1/answers", "none", "ok").value == 2
    assert metrics.values("rag_requests_total") == []


def test_a_file_does_not_grow_with_what_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    metrics = Metrics()

    def count() -> None:
        for number in range(20_000):
            metrics.stage_duration.labels("embed").observe(number / 1000)
            metrics.requests.labels("/v1/answers", "none", "ok").inc()

    sizes = set()
    for _ in range(2):
        count()
        _in_a_thread(count)
        sizes.add(sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert len(sizes) == 1
    value = metrics.registry.get_sample_value
    assert value("rag_stage_duration_seconds_count", {"stage": "embed"}) == 80_000


def test_a_reader_sees_an_entry_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real, written = SharedFolder(tmp_path), cells._HEAD, []

    class Watched:
        size, unpack_from = real.size, real.unpack_from

        def pack(self, *lengths: int) -> bytes:
            """Just before the head is there."""
            assert any(b"newest" in file.read_bytes() for file in tmp_path.iterdir())
            written.append(_everything(store))
            return real.pack(*lengths)

    store.add(("older", ()), 3, lives=False)[2] = 1.0
    monkeypatch.setattr(cells, "_HEAD", Watched())
    store.add(("newest", ("label",)), 2, lives=False)
    older = {("older", ()): [0.0, 0.0, 1.0]}
    assert written == [older]
    assert _everything(store) == older | {("newest", ("label",)): [0.0, 0.0]}


def test_what_processes_count_becomes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    first, second = Metrics(), Metrics()
    for metrics, number in ((first, 1), (second, 2)):
        metrics.requests.labels("/v1/answers", "none", "ok").inc(number)
        metrics.queue_wait.labels("standard").observe(number)
        metrics.ingest_queue_depth.set(number)
        metrics.breaker_state.labels("model").set(number)
    _in_a_thread(lambda: first.breaker_state.labels("model").inc(1.5))
    for metrics in (first, second):
        value = metrics.registry.get_sample_value
        ok = {"route": "/v1/answers", "app": "none", "outcome": "ok"}
        assert value("rag_requests_total", ok) == 3
        waits = "rag_queue_wait_seconds"
        assert value(f"{waits}_bucket", {"class": "standard", "le": "1.0"}) == 1
        assert value(f"{waits}_bucket", {"class": "standard", "le": "+Inf"}) == 2
        assert value(f"{waits}_sum", {"class": "standard"}) == 3
        assert value("rag_ingest_queue_depth") == 3
        assert value("rag_breaker_state", {"dependency": "model"}) == 2.5
        assert value("rag_requests_created", ok) is None


COUNTS_AND_DIES = """
import os, signal
from ragstone.observe.metrics import Metrics
metrics = Metrics()
metrics.retries.labels("model", "ok").inc(5)
metrics.ingest_queue_depth.set(7)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_has_counted_and_its_gauges_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", COUNTS_AND_DIES], env=os.environ) as process:
        assert process.wait() == -signal.SIGKILL
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    labels = {"dependency": "model", "outcome": "ok"}
    assert value("rag_retries_total", labels) == 5
    assert value("rag_ingest_queue_depth") == 7
    forget_process(tmp_path, process.pid)
    assert value("rag_ingest_queue_depth") == 0
    metrics.retries.labels("model", "ok").inc()
    assert value("rag_retries_total", labels) == 6

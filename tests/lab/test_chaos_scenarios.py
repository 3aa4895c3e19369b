"""A fast subset of the fault scenarios; `make chaos` runs all of them at full length."""

import re
import sys
from pathlib import Path

import pytest

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.chaos.run import chosen, run_one
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.scenarios import SCENARIOS
from ragstone.lab.chaos.verdict import at_most

IN_TESTS = (
    "model-pings-only",
    "model-error-midway",
    "model-malformed-stream",
    "leaving-under-a-budget",
)
"""Those that a machine which also runs other tests cannot fail: nothing in them has to be sooner
than something else, and bounds in seconds do not count."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sockets are counted in /proc")
@pytest.mark.parametrize("name", IN_TESTS)
async def test_the_scenario_passes(name: str) -> None:
    result = await run_one(chosen(SCENARIOS, [name])[0], quick=True, timed=False)
    failed = [check for check in result.checks if not check.passed]
    assert (result.status, failed, result.note) == ("passed", [], "")


async def test_a_scenario_that_cannot_run_is_broken_and_not_passed() -> None:
    async def run(bench: Bench) -> None:
        raise InvalidExperiment("No such thing here.")

    broken = await run_one(
        Scenario(name="s", faults=(1,), does="", expects="", run=run), quick=True
    )
    assert broken.status == "broken"
    assert "No such thing here." in broken.note


@pytest.mark.parametrize("timed", [True, False])
async def test_bounds_in_seconds_count_only_where_they_are_wanted(timed: bool) -> None:
    async def run(bench: Bench) -> None:
        bench.expect(at_most("slowest", 3.0, 2.0, "s"), at_most("calls", 1, 2))

    slow = await run_one(
        Scenario(name="s", faults=(1,), does="", expects="", run=run), quick=True, timed=timed
    )
    assert (slow.status, len(slow.checks)) == (("failed", 2) if timed else ("passed", 1))


async def test_a_scenario_without_checks_has_not_passed() -> None:
    async def run(bench: Bench) -> None:
        pass

    empty = Scenario(name="s", faults=(1,), does="", expects="", run=run)
    assert (await run_one(empty, quick=True)).status == "failed"


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(InvalidExperiment, match="Did you mean 'overload'"):
        chosen(SCENARIOS, ["overlod"])


def test_every_fault_has_a_scenario_that_runs_or_says_why_not() -> None:
    page = (Path(__file__).parents[2] / "docs" / "lab.md").read_text(encoding="utf-8")
    rows = {int(row) for row in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert rows == set(range(1, 30))
    covered = {fault for scenario in SCENARIOS for fault in scenario.faults}
    assert covered == rows
    for scenario in SCENARIOS:
        assert (scenario.run is None) == bool(scenario.not_applicable)
        assert f"`{scenario.name}`" in page

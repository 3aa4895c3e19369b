"""Running scenarios one after another."""

import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from ragstone.domain.errors import InvalidExperiment, did_you_mean
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.verdict import Result

_NOTE_CHARS = 2_000


def chosen(scenarios: Sequence[Scenario], names: Sequence[str]) -> list[Scenario]:
    """Those of the names. Raises `InvalidExperiment` for one that there is not."""
    by_name = {scenario.name: scenario for scenario in scenarios}
    for name in names:
        if name not in by_name:
            raise InvalidExperiment(
                f"There is no scenario {name[:80]!r}.",
                remedy=did_you_mean(name[:80], by_name, what="scenarios"),
                field="name",
            )
    return [by_name[name] for name in names]


async def run_all(
    scenarios: Sequence[Scenario], *, quick: bool, told: Callable[[Result], None]
) -> list[Result]:
    """Each on a bench of its own; `told` hears of each result."""
    results = []
    for scenario in scenarios:
        result = await run_one(scenario, quick=quick)
        told(result)
        results.append(result)
    return results


async def run_one(scenario: Scenario, *, quick: bool, timed: bool = True) -> Result:
    """Never raises but for cancellation: what goes wrong is the result.

    `timed`: whether bounds in seconds count, which say nothing beside other work.
    """
    if scenario.run is None:
        return Result(
            name=scenario.name,
            faults=list(scenario.faults),
            status="not_applicable",
            note=scenario.not_applicable,
        )
    began = time.monotonic()
    note = ""
    with tempfile.TemporaryDirectory(prefix="ragstone-chaos-") as folder:
        bench = Bench(folder=Path(folder), quick=quick, timed=timed)
        try:
            await scenario.run(bench)
        except Exception:
            note = traceback.format_exc()[-_NOTE_CHARS:]
    passed = bool(bench.checks) and all(check.passed for check in bench.checks)
    return Result(
        name=scenario.name,
        faults=list(scenario.faults),
        status="broken" if note else "passed" if passed else "failed",
        seconds=round(time.monotonic() - began, 1),
        checks=bench.checks,
        outcomes=dict(bench.outcomes),
        note=note,
    )

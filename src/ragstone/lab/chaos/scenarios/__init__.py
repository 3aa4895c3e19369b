"""All scenarios, in the order of the table of faults."""

from typing import Final

from ragstone.lab.chaos.scenario import Scenario
from ragstone.lab.chaos.scenarios import (
    cache,
    clients,
    dependencies,
    ingestion,
    latency,
    model,
    money,
    overload,
    process,
)

SCENARIOS: Final[tuple[Scenario, ...]] = tuple(
    sorted(
        (
            *overload.SCENARIOS,
            *latency.SCENARIOS,
            *dependencies.SCENARIOS,
            *model.SCENARIOS,
            *cache.SCENARIOS,
            *clients.SCENARIOS,
            *money.SCENARIOS,
            *process.SCENARIOS,
            *ingestion.SCENARIOS,
        ),
        key=lambda scenario: (scenario.faults, scenario.name),
    )
)

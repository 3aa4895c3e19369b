"""All scenarios, in the order of the table of faults."""

from typing import Final

from ragstone.lab.chaos.scenario import Scenario
from ragstone.lab.chaos.scenarios import clients, dependencies, latency, model, overload

SCENARIOS: Final[tuple[Scenario, ...]] = tuple(
    sorted(
        (
            *overload.SCENARIOS,
            *latency.SCENARIOS,
            *dependencies.SCENARIOS,
            *model.SCENARIOS,
            *clients.SCENARIOS,
        ),
        key=lambda scenario: (scenario.faults, scenario.name),
    )
)

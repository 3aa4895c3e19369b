"""A scenario: which fault, what is done, what is expected, and the function that does it."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.chaos.checker import always_true, started_in_time
from ragstone.lab.chaos.corpus import CANARIES
from ragstone.lab.chaos.money import budgets_kept
from ragstone.lab.chaos.rest import after_quiescence, at_rest
from ragstone.lab.chaos.site import Settings, Site, open_site
from ragstone.lab.chaos.transcript import Transcript
from ragstone.lab.chaos.verdict import Check, percentile

_MAX_LAG_SECONDS: Final = 0.010
_UNHURRIED: Final[Settings] = {
    "ladder": {"enabled": False},
    "admission": {"interval_seconds": 600},
}
"""A server that neither leaves out nor refuses because the machine has other work."""


@dataclass
class Bench:
    """Where one scenario runs, and what it found."""

    folder: Path
    quick: bool
    timed: bool = True
    """Whether bounds in seconds count, and a server does less when it is slow."""
    checks: list[Check] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    _sites: int = 0

    def seconds(self, full: float, quick: float) -> float:
        """How long something lasts."""
        return quick if self.quick else full

    def new_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder

    def expect(self, *checks: Check) -> None:
        self.checks += [check for check in checks if self.timed or not check.is_timing]

    @asynccontextmanager
    async def site(
        self,
        *,
        services: Mapping[str, Mapping[str, Any]],
        proxied: Mapping[str, Mapping[str, Any]] | None = None,
        settings: Settings | None = None,
    ) -> AsyncIterator[Site]:
        """A server and what it needs; see `open_site`. At its end, what must always be true is
        checked, and that nothing is left."""
        self._sites += 1
        folder = self.new_folder(f"site{self._sites}")
        if not self.timed:
            settings = {**_UNHURRIED, **(settings or {})}
        async with open_site(folder, services=services, proxied=proxied, settings=settings) as site:
            before = await at_rest(site)
            yield site
            transcripts = site.driver.transcripts
            if self.timed:
                _check_punctual(transcripts)
            self.outcomes.update(transcript.outcome for transcript in transcripts)
            self.expect(*always_true(transcripts, CANARIES))
            starts = [start for each in site.services.values() for start in await each.starts()]
            self.expect(started_in_time(starts, transcripts))
            self.expect(*await after_quiescence(site, before, pools=not self.quick))
            self.expect(*await budgets_kept(site))


def _check_punctual(transcripts: Sequence[Transcript]) -> None:
    """Raises `InvalidExperiment` when the clients lagged: the load was not what it should be."""
    lags = [t.sent - t.scheduled for t in transcripts if t.sent]
    if (lag := percentile(lags, 0.5)) > _MAX_LAG_SECONDS:
        raise InvalidExperiment(
            f"The clients sent their requests {1000 * lag:.0f} ms late (median), which says "
            "nothing about the server.",
            remedy="Run it on a machine that does nothing else.",
        )


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One, as `chaos list` shows it."""

    name: str
    faults: tuple[int, ...]
    """Rows of the table of faults."""
    does: str
    expects: str
    run: Callable[[Bench], Awaitable[None]] | None = None
    quick: bool = False
    """Part of the fast subset."""
    not_applicable: str = ""
    """Why there is nothing to run."""

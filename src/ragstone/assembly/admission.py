"""Admission of requests, as the settings say."""

from random import Random

from ragstone.ports import Clock
from ragstone.resilience.admission import GatedAdmission, OpenAdmission
from ragstone.resilience.gate import Gate, GateSettings
from ragstone.resilience.limiter import AdaptiveLimiter
from ragstone.resilience.units import Units
from ragstone.settings import Settings


def open_admission(
    settings: Settings, clock: Clock, board: Units | None = None, *, random: Random | None = None
) -> GatedAdmission | OpenAdmission:
    """For one process; with a `board`, for one of those that share the slots.

    Each process learns how many slots are right for it, at most its part of
    `admission.concurrency`; the limit over all is the sum. Places in flight bound a process's
    memory, and its queue its own waiters: it has its part of them.
    """
    chosen = settings.admission
    if not chosen.enabled:
        return OpenAdmission()
    processes = board.processes if board is not None else 1
    limiter = _slots(settings, processes, clock)
    gate = Gate(
        "server",
        limit=(lambda: limiter.limit) if board is None else (lambda: board.agree(limiter.limit)),
        settings=GateSettings(
            queue=max(1, chosen.queue // processes) if chosen.queue else 0,
            target_seconds=chosen.target_seconds,
            interval_seconds=chosen.interval_seconds,
            tenant_share=chosen.tenant_share,
        ),
        clock=clock,
        board=board,
        random=random,
    )
    places = max(1, chosen.in_flight // processes)
    return GatedAdmission(gate, in_flight=places, clock=clock, limiter=limiter)


def _slots(settings: Settings, processes: int, clock: Clock) -> AdaptiveLimiter:
    most = max(1, -(-settings.admission.concurrency // processes))
    least = min(settings.resilience.min_concurrency, most)
    first = min(max(settings.resilience.initial_concurrency, least), most)
    return AdaptiveLimiter(initial=first, minimum=least, maximum=most, clock=clock)

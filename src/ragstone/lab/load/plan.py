"""Everything that a run needs to be told, checked before it begins."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.load.questions import (
    Key,
    Question,
    named_keys,
    sample_questions,
    with_own_keys,
)
from ragstone.lab.load.requests import RequestForm
from ragstone.lab.load.schedule import Behaviour, Schedule, arrivals, make_schedule
from ragstone.lab.load.shapes import arrives_evenly, shape_named
from ragstone.lab.load.target import Target, resolve_target
from ragstone.lab.load.trace_file import read_trace

PER_PROCESS: Final = 3_200
"""Requests in a second that one generator process is trusted with: `benchmarks/load_generator.py`
finds it on time at a mean of 3,000, whose busiest second has so many."""

_COMFORTABLE: Final = 300
"""Requests a second for which another generator process is started, when there are cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A part of a trace file."""

    path: Path
    start: float = 0.0
    """Seconds of the trace that are left out."""
    speed: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """A run. Made by `plan_load`."""

    target: Target
    schedule: Schedule
    questions: tuple[Question, ...]
    keys: tuple[Key, ...]
    form: RequestForm
    within: float
    """Seconds from the scheduled moment in which an answer must be complete to count as good."""
    processes: int
    """Generator processes; 0: none, the run happens in the caller's event loop."""
    keep: bool
    description: str


def plan_load(
    url: str,
    *,
    rate: float = 10.0,
    duration: float = 30.0,
    shape: str = "poisson",
    trace: Trace | None = None,
    questions: tuple[Question, ...] | None = None,
    keys: tuple[Key, ...] = (),
    behaviour: Behaviour | None = None,
    form: RequestForm | None = None,
    within: float | None = None,
    seed: int = 1,
    processes: int | None = None,
    keep: bool = False,
    own_target: bool = False,
) -> LoadPlan:
    """A run against `url`; without `questions` those of the sample corpus are asked.

    `rate` is per second and what `shape` multiplies; a `trace` takes the place of both. `within`
    is the deadline when not given, `processes` as many as the rate asks for. `keep` keeps every
    response with its text in the result. Raises `InvalidExperiment`, `TargetNotConfirmed`.
    """
    form = form or RequestForm()
    within = form.deadline if within is None else within
    for name, value in (("deadline", form.deadline), ("bound for good answers", within)):
        if not 0 < value < math.inf:
            raise InvalidExperiment(
                f"A load cannot have a {name} of {value:g} s.", remedy="Give a number above 0."
            )
    target = resolve_target(url, confirmed=own_target)
    times = _times(rate, duration, shape, trace, seed)
    drawn = named_keys(list(keys)) if keys else ()
    asked, all_keys = with_own_keys(_some(questions), drawn)
    schedule = make_schedule(
        times,
        duration=duration,
        questions=len(asked),
        behaviour=behaviour or Behaviour(),
        key_weights=tuple(key.weight for key in drawn),
        seed=seed,
    )
    if len(schedule) == 0:
        raise InvalidExperiment(
            "No request falls into this run.", remedy="Run longer, or at a higher rate."
        )
    return LoadPlan(
        target=target,
        schedule=schedule,
        questions=asked,
        keys=all_keys,
        form=form,
        within=within,
        processes=_processes(schedule, processes),
        keep=keep,
        description=_description(rate, duration, shape, trace),
    )


def _times(
    rate: float, duration: float, shape: str, trace: Trace | None, seed: int
) -> NDArray[np.float64]:
    if trace is not None:
        length = duration * trace.speed
        return read_trace(trace.path, start=trace.start, length=length, speed=trace.speed)
    return arrivals(
        shape_named(shape), rate=rate, duration=duration, evenly=arrives_evenly(shape), seed=seed
    )


def _some(questions: tuple[Question, ...] | None) -> tuple[Question, ...]:
    if questions is None:
        return sample_questions()
    if not questions:
        raise InvalidExperiment("There are no questions to ask.", remedy="Give at least one.")
    return questions


def _processes(schedule: Schedule, wanted: int | None) -> int:
    """As many as asked for, or as fit. Raises `InvalidExperiment` for a rate beyond them."""
    peak, cores = schedule.peak_rate(), os.cpu_count() or 1
    count = min(cores, max(1, math.ceil(peak / _COMFORTABLE))) if wanted is None else wanted
    if not 0 <= count <= 256:
        raise InvalidExperiment(
            f"A load cannot have {count} processes.", remedy="Give a number from 1 to 256."
        )
    if peak > PER_PROCESS * max(count, 1):
        raise InvalidExperiment(
            f"{peak:,.0f} requests in the busiest second are more than {max(count, 1)} generator "
            f"process{'es' if count > 1 else ''} can send on time ({PER_PROCESS:,} each).",
            remedy=f"Lower the rate, or give --processes {math.ceil(peak / PER_PROCESS)} on a "
            "machine with as many cores.",
        )
    return count


def _description(rate: float, duration: float, shape: str, trace: Trace | None) -> str:
    if trace is None:
        return f"{shape}, {rate:g} requests/s, {duration:g} s"
    return f"{trace.path.name} from {trace.start:g} s at {trace.speed:g}x, {duration:g} s"

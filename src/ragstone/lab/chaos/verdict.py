"""What a scenario found: checks with their bounds, and series to look at."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Status = Literal["passed", "failed", "broken", "not_applicable"]
"""`broken`: the scenario itself could not run, which says nothing about the server."""


class Check(msgspec.Struct, frozen=True):
    """One expectation."""

    what: str
    measured: str
    bound: str
    passed: bool
    is_timing: bool = False
    """Whether a machine that does other things as well may fail it."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario, run."""

    name: str
    faults: list[int]
    """Its rows in the table of faults."""
    status: Status
    seconds: float = 0.0
    checks: list[Check] = []
    outcomes: dict[str, int] = {}
    """How many requests ended how."""
    note: str = ""
    """Why it broke, or does not apply."""


def at_most(what: str, value: float, bound: float, unit: str = "") -> Check:
    shown = f"<= {_number(bound, unit)}"
    return Check(what, _number(value, unit), shown, value <= bound, unit == "s")


def at_least(what: str, value: float, bound: float, unit: str = "") -> Check:
    shown = f">= {_number(bound, unit)}"
    return Check(what, _number(value, unit), shown, value >= bound, unit == "s")


def equal(what: str, value: object, expected: object) -> Check:
    return Check(what, str(value), str(expected), value == expected)


def among(what: str, found: Sequence[Any], allowed: Sequence[Any]) -> Check:
    """Nothing but the allowed ones; `found` may hold each often."""
    others = sorted({str(one) for one in found} - {str(one) for one in allowed})
    shown = ", ".join(others[:5]) or "none other"
    return Check(what, shown, f"only {', '.join(map(str, allowed))}", not others)


def none_of(what: str, found: Sequence[str]) -> Check:
    """There must be no such thing; the first three are shown."""
    shown = "; ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    return Check(what, shown or "none", "none", not found)


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _number(value: float, unit: str) -> str:
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{shown} {unit}".strip()

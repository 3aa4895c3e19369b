"""Two reports side by side."""

from pathlib import Path

import msgspec

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.load.report import LoadReport


def read_report(path: Path) -> LoadReport:
    """A report that `--save` or `--json` wrote. Raises `InvalidExperiment`."""
    remedy = "Give a file that `ragstone load --save FILE` wrote."
    try:
        return msgspec.json.decode(path.read_bytes(), type=LoadReport)
    except OSError as error:
        raise InvalidExperiment(
            f"The report {path} cannot be read: {error.strerror}.", remedy=remedy
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidExperiment(f"{path} is no report of a load.", remedy=remedy) from None


def compared(before: LoadReport, after: LoadReport) -> list[tuple[str, str, str, str]]:
    """Name, before, after and change of each figure that both have."""
    old, new = _figures(before), _figures(after)
    return [
        (name, f"{old[name]:,.4g}", f"{new[name]:,.4g}", _change(old[name], new[name]))
        for name in old
        if name in new
    ]


def _figures(report: LoadReport) -> dict[str, float]:
    figures = {
        "offered, requests/s": report.offered,
        "goodput, answers/s": report.goodput,
        "good share": report.good_share,
        "degraded share": report.degraded_share,
    }
    named = (("latency", report.latency), ("first token", report.first_token),
             ("gaps", report.gaps), ("refusals", report.refusals))  # fmt: skip
    for name, of in named:
        figures |= {f"{name} {p}, s": of[p] for p in ("p50", "p99") if of}
    return figures


def _change(before: float, after: float) -> str:
    return f"{after / before - 1:+.1%}" if before else ""

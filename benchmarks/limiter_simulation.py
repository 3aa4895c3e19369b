"""Ways to adapt a concurrency limit, side by side on simulated model servers.

    python benchmarks/limiter_simulation.py [--svg docs/decisions/0005-concurrency-limits.svg]

Prints goodput and time to the first token of each at 2 and 10 times the peak, and what becomes of
it when latency triples for good, sits at the timeout, or the server has no limit. All is seeded
and in virtual time: the figures are the same on every machine.
"""

import argparse
import math
import statistics
from collections.abc import Callable
from pathlib import Path

from limited_servers import Limiter, Seen, Server, SimulatedTime, Simulation, places, roomy, shared
from limiter_candidates import Aimd, Fixed, Gradient2, Vegas

from ragstone.resilience.limiter import AdaptiveLimiter

Make = Callable[[SimulatedTime], Limiter]

CANDIDATES: dict[str, Make] = {
    "Ragstone": lambda time: AdaptiveLimiter(initial=16, minimum=4, maximum=1000, clock=time),
    "Gradient2": lambda time: Gradient2(32, 4, 1000),
    "Vegas": lambda time: Vegas(32, 4, 1000),
    "AIMD": lambda time: Aimd(32, 4, 1000),
    "fixed 20": lambda time: Fixed(20),
    "fixed 64": lambda time: Fixed(64),
}
SERVERS: dict[str, Callable[[], Server]] = {
    "20 places": places,
    "shared speed": shared,
    "20 places, noisy": lambda: places(noise=0.7),
    "shared, noisy": lambda: shared(noise=0.7),
    "200 places": lambda: places(200),
}
SEEDS = (1, 2, 3)
WARM, END = 60.0, 900.0


def simulate(server: Server, make: Make, rate: float, seed: int) -> Simulation:
    time = SimulatedTime()
    return Simulation(server, make(time), time, rate=rate, seed=seed)


def overload(kind: Callable[[], Server], make: Make, load: float) -> tuple[float, float, float]:
    """Throughput as a share of the peak, and median and 95th percentile to the first token."""
    rates, waits = [], []
    for seed in SEEDS:
        server = kind()
        seen = simulate(server, make, load * server.peak, seed).run(END)
        rates.append(seen.rate(WARM, END) / server.peak)
        waits += seen.waits(WARM, END) or [math.inf]
    waits.sort()
    return statistics.mean(rates), statistics.median(waits), waits[int(0.95 * len(waits))]


def print_overload() -> None:
    for name, kind in SERVERS.items():
        _, calm, slow = overload(kind, lambda time: Fixed(10_000), 0.8)
        print(f"\n{name}: at 80 % load {calm:.2f} s to the first token, p95 {slow:.2f} s")
        print("| limit | goodput 2x | TTFT p50 2x | p95 | goodput 10x | TTFT p50 10x | p95 |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for candidate, make in CANDIDATES.items():
            cells = []
            for load in (2, 10):
                rate, median, tail = overload(kind, make, load)
                cells += [f"{rate:.2f}", f"{median / calm:.2f}x", f"{tail / slow:.2f}x"]
            print(f"| {candidate} |", " | ".join(cells), "|")


def tripled(kind: Callable[[], Server], make: Make) -> Seen:
    """Everything takes three times as long from 300 s on."""
    server = kind()
    simulation = simulate(server, make, 2 * server.peak, 1)
    simulation.run(300)
    server.slow = 3.0
    return simulation.run(END)


def at_timeout(make: Make) -> Seen:
    """From 300 s on the first token comes just before or just after the timeout."""
    server = places()
    simulation = simulate(server, make, 2 * server.peak, 1)
    simulation.run(300)
    server.first, server.noise = 9.95, 0.02
    return simulation.run(END)


def no_limit(make: Make, noise: float) -> float:
    """Seconds until 900 streams may run at a server that never slows down."""
    simulation = simulate(roomy(stream=20.0, noise=noise), make, 100, 1)
    seen = simulation.run(600)
    return next((at for at, limit in seen.limits if limit >= 900), math.inf)


def spread(seen: Seen, since: float) -> str:
    limits = seen.limits_between(since, END)
    return f"{statistics.mean(limits):.0f} ({min(limits)} to {max(limits)})"


def print_faults() -> None:
    print("\n| limit | latency tripled, mean (range): 20 places | shared speed |", end="")
    print(" at the timeout | 900 streams, quiet | noisy |")
    print("|---|---:|---:|---:|---:|---:|")
    for candidate, make in CANDIDATES.items():
        print(
            f"| {candidate} | {spread(tripled(places, make), 500)}",
            f"{spread(tripled(shared, make), 500)}",
            f"{spread(at_timeout(make), 500)}",
            f"{no_limit(make, 0.25):.0f} s",
            f"{no_limit(make, 0.7):.0f} s |",
            sep=" | ",
        )


PLOTTED = ("Ragstone", "Gradient2", "Vegas", "AIMD")
LEFT, WIDTH, HEIGHT, LOW, HIGH = 56, 340, 200, 4, 1000
STYLE = """
    .ground { fill: #ffffff; } .text { fill: #1d1f20; } .soft { fill: #5b5a55; }
    .grid { stroke: #d5d3cb; } .knee { stroke: #6b6a64; stroke-dasharray: 4 3; }
    .line { fill: none; stroke-width: 1.4; stroke-linejoin: round; }
    .Ragstone { stroke: #1f5c63; stroke-width: 2.4; } .Gradient2 { stroke: #b4531a; }
    .Vegas { stroke: #7a4fa3; } .AIMD { stroke: #8a8880; }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #14181a; } .text { fill: #e8e6df; } .soft { fill: #a9aaa5; }
      .grid { stroke: #363d40; } .knee { stroke: #9aa3a5; }
      .Ragstone { stroke: #86c5c6; } .Gradient2 { stroke: #f0a070; }
      .Vegas { stroke: #c3a0e6; } .AIMD { stroke: #8d9395; }
    }
"""


def svg() -> str:
    panels = "".join(
        _panel(title, kind, LEFT + number * (WIDTH + 60))
        for number, (title, kind) in enumerate(
            (("20 places, the rest queues inside", places), ("speed shared beyond 20", shared))
        )
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 310" role="img" '
        'aria-labelledby="title description" font-size="12" '
        "font-family=\"system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\">\n"
        '  <title id="title">Concurrency limits over time at twice the peak load</title>\n'
        '  <desc id="description">On both servers the limit of Ragstone stays near the knee of '
        "20, also after latency triples at 300 seconds. Gradient2 swings around it on the first "
        "and creeps above it on the second; AIMD climbs until calls time out.</desc>\n"
        f'  <style>{STYLE}  </style>\n  <rect class="ground" width="840" height="310" rx="6"/>\n'
        f"{panels}{_legend()}</svg>\n"
    )


def _panel(title: str, kind: Callable[[], Server], left: float) -> str:
    parts = [f'  <text class="text" x="{left}" y="24" font-weight="600">{title}</text>\n']
    for limit in (4, 10, 20, 100, 1000):
        y, kind_of_line = _y(limit), "knee" if limit == 20 else "grid"
        parts.append(f'  <path class="{kind_of_line}" d="M{left} {y:.1f}h{WIDTH}"/>\n')
        parts.append(
            f'  <text class="soft" x="{left - 6}" y="{y + 4:.1f}" '
            f'text-anchor="end">{limit}</text>\n'
        )
    for second in (0, 300, 600, 900):
        x = left + second / END * WIDTH
        parts.append(
            f'  <text class="soft" x="{x:.0f}" y="258" text-anchor="middle">{second} s</text>\n'
        )
    x = left + 300 / END * WIDTH
    parts.append(f'  <path class="knee" d="M{x:.0f} 40v{HEIGHT}"/>\n')
    parts.append(f'  <text class="soft" x="{x + 5:.0f}" y="52">latency triples</text>\n')
    parts += [_line(name, tripled(kind, CANDIDATES[name]), left) for name in reversed(PLOTTED)]
    return "".join(parts)


def _y(limit: float) -> float:
    return 40 + HEIGHT * (1 - math.log(limit / LOW) / math.log(HIGH / LOW))


def _line(name: str, seen: Seen, left: float) -> str:
    points = " ".join(
        f"{left + at / END * WIDTH:.1f},{_y(max(LOW, limit)):.1f}" for at, limit in seen.limits[::4]
    )
    return f'  <polyline class="line {name}" points="{points}"/>\n'


def _legend() -> str:
    parts = []
    for number, name in enumerate(PLOTTED):
        x = LEFT + number * 120
        parts.append(f'  <path class="line {name}" d="M{x} 286h24"/>\n')
        parts.append(f'  <text class="text" x="{x + 30}" y="290">{name}</text>\n')
    parts.append(
        f'  <text class="soft" x="{LEFT + 500}" y="290">calls in flight allowed (log)</text>\n'
    )
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--svg", type=Path, help="write the plot there")
    arguments = parser.parse_args()
    print_overload()
    print_faults()
    if arguments.svg:
        arguments.svg.write_text(svg())


if __name__ == "__main__":
    main()

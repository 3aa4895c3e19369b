"""What admission costs a request: the gate alone, over a shared board, and with a long queue.

    python benchmarks/gate_cost.py [--requests 20000]

The figure is wall-clock time over the requests, the least of five rounds, on one core. `refused`
is a request that finds the queue full under overload; `queued` waits for its turn, and its figure
includes the task that a server has for each request anyway.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import Overloaded
from ragstone.domain.principal import Principal
from ragstone.resilience.admission import GatedAdmission
from ragstone.resilience.board import Board
from ragstone.resilience.gate import Gate, GateSettings
from ragstone.resilience.units import Units

FAR = 1e12
ROUNDS = 5


def new_gate(limit: int, *, queue: int = 256, board: Units | None = None) -> Gate:
    settings = GateSettings(queue=queue, target_seconds=60, interval_seconds=60, tenant_share=0.25)
    return Gate("gate", limit=lambda: limit, settings=settings, clock=SystemClock(), board=board)


async def acquire_and_release(gate: Gate, count: int) -> None:
    for _ in range(count):
        ticket = await gate.acquire(tenant="acme", priority="standard", deadline=FAR)
        ticket.release()


async def admit(gate: Gate, count: int) -> None:
    admission = GatedAdmission(gate, in_flight=1000, clock=SystemClock())
    who = Principal(tenant="acme")
    for _ in range(count):
        admission.check(who, priority="standard", weight=1, deadline=FAR)
        async with admission.admit(who, priority="standard", weight=1, deadline=FAR) as permit:
            permit.free_slot()


async def refuse(gate: Gate, count: int) -> None:
    holder = await gate.acquire(tenant="acme", priority="standard", deadline=FAR)
    for _ in range(count):
        try:
            await gate.acquire(tenant="acme", priority="standard", deadline=FAR)
        except Overloaded:
            continue
    holder.release()


async def queue_up(gate: Gate, count: int) -> None:
    async def visit(number: int) -> None:
        tenant = f"tenant{number % 100}"
        ticket = await gate.acquire(tenant=tenant, priority="standard", deadline=FAR)
        await asyncio.sleep(0)
        ticket.release()

    await asyncio.gather(*(visit(number) for number in range(count)))


async def measure(
    name: str, work: Callable[[Gate, int], Awaitable[None]], gate: Gate, count: int
) -> None:
    least = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await work(gate, count)
        least = min(least, time.perf_counter() - began)
    print(f"{name:<48}{least / count * 1e6:8.1f} us")


async def main(requests: int, folder: Path) -> None:
    await measure("gate, uncontended", acquire_and_release, new_gate(64), requests)
    for processes in (2, 4):
        file = folder / f"board{processes}"
        Board.create(file, processes=processes)
        board = Board(file, row=0, clock=SystemClock())
        name = f"gate, uncontended, board of {processes}"
        await measure(name, acquire_and_release, new_gate(64, board=board), requests)
    await measure("check, admit and give back, uncontended", admit, new_gate(64), requests)
    await measure("refused, queue full", refuse, new_gate(1, queue=0), requests)
    for waiting in (200, 2_000, 20_000):
        gate = new_gate(8, queue=waiting)
        await measure(f"queued behind up to {waiting:,}", queue_up, gate, waiting)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--requests", type=int, default=20_000)
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(main(arguments.parse_args().requests, Path(temporary)))

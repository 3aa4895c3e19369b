"""What quotas cost a request: `python benchmarks/quota_cost.py`.

Counting a request, telling the caller how it stands, and charging and correcting tokens: without
limits, with one, with the key's and the tenant's, and the same in the table that processes share,
alone and while another process uses it as fast as it can. Each figure is the lowest of several
rounds, in microseconds of one core.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import RateLimited
from ragstone.domain.principal import Principal
from ragstone.governance.quotas import MinuteLimits, MinuteQuotas, SharedBuckets

ANN = Principal(tenant="acme", key_id="key_1")
HUGE = 10**9
BOTH = MinuteLimits(key_requests=HUGE, tenant_requests=HUGE, key_tokens=HUGE, tenant_tokens=HUGE)
ROUNDS, CALLS = 7, 5_000


def microseconds(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, time.perf_counter() - began)
    return best / CALLS * 1e6


def show(name: str, quotas: MinuteQuotas) -> None:
    def tokens() -> None:
        taken = quotas.take_tokens(ANN, 3_000)
        if taken is not None:
            quotas.correct_tokens(taken, 1_800)

    figures = (
        microseconds(lambda: quotas.check_request(ANN)),
        microseconds(lambda: quotas.standing(ANN)),
        microseconds(tokens),
    )
    print(f"{name:<34}" + "".join(f"{figure:>10.1f}" for figure in figures))


def refuse(quotas: MinuteQuotas) -> None:
    try:
        quotas.check_request(ANN)
    except RateLimited:
        return


def ask_on(path: Path) -> None:
    clock = SystemClock()
    quotas = MinuteQuotas(BOTH, clock, SharedBuckets(path, processes=2, clock=clock))
    while True:
        quotas.check_request(ANN)


def main() -> None:
    argparse.ArgumentParser(description="The cost of quotas").parse_args()
    clock = SystemClock()
    print(f"{'us':<34}{'request':>10}{'headers':>10}{'tokens':>10}")
    show("without limits", MinuteQuotas(MinuteLimits(), clock))
    show("the tenant's", MinuteQuotas(MinuteLimits(tenant_requests=HUGE), clock))
    show("the key's and the tenant's", MinuteQuotas(BOTH, clock))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quotas"
        SharedBuckets.create(path)
        shared = SharedBuckets(path, processes=2, clock=clock)
        show("both, shared", MinuteQuotas(BOTH, clock, shared))
        other = multiprocessing.get_context("spawn").Process(target=ask_on, args=(path,))
        other.start()
        time.sleep(2)
        show("both, shared, another at full speed", MinuteQuotas(BOTH, clock, shared))
        other.kill()
        other.join()
        shared.close()
    refusing = MinuteQuotas(MinuteLimits(key_requests=1), clock)
    refusing.check_request(ANN)
    print(f"a refusal: {microseconds(lambda: refuse(refusing)):.1f} us")


if __name__ == "__main__":
    main()

"""In any time at most a minute's worth and the rate times that time is taken, whatever happens."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ragstone.domain.errors import RateLimited, TokensRateLimited
from ragstone.domain.principal import Principal
from ragstone.domain.quota import TokensTaken
from ragstone.governance.quotas import MinuteLimits, MinuteQuotas, SharedBuckets
from tests.clock import VirtualClock

LIMITS = MinuteLimits(key_requests=7, tenant_requests=11, key_tokens=100, tenant_tokens=170)
KEYS = ("key_1", "key_2", "key_3")
OWN = {"key_3": (13, 250)}
"""Larger than what is left for the tenant."""


@dataclass
class Open:
    """A question whose tokens are charged by an estimate."""

    taken: TokensTaken
    key: str
    at: int
    """Its place in the history of the key, and in that of the tenant."""
    tenant_at: int


@dataclass
class History:
    """When how much was taken; what was given back is taken off where it was taken."""

    times: list[float] = field(default_factory=list)
    units: list[int] = field(default_factory=list)

    def add(self, now: float, units: int) -> int:
        self.times.append(now)
        self.units.append(units)
        return len(self.units) - 1

    def require(self, limit: int) -> None:
        """Over every window that begins and ends with something taken."""
        for first, begin in enumerate(self.times):
            total = 0
            for end, units in zip(self.times[first:], self.units[first:], strict=True):
                total += units
                assert total <= limit * (1 + (end - begin) / 60) + 1e-6


class Quotas(RuleBasedStateMachine):
    """Three processes on one table, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.clock = VirtualClock()
        path = Path(self.folder.name) / "quotas"
        SharedBuckets.create(path)
        self.shared = [SharedBuckets(path, processes=3, clock=self.clock) for _ in range(3)]
        self.quotas = [MinuteQuotas(LIMITS, self.clock, each) for each in self.shared]
        self.requests = {name: History() for name in (*KEYS, "acme")}
        self.tokens = {name: History() for name in (*KEYS, "acme")}
        self.open: list[Open] = []

    def teardown(self) -> None:
        for each in self.shared:
            each.close()
        self.folder.cleanup()

    @rule(seconds=st.floats(0, 90) | st.sampled_from([0.1, 1.0, 15.0, 29.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(process=st.integers(0, 2), key=st.sampled_from(KEYS), times=st.integers(1, 12))
    def ask(self, process: int, key: str, times: int) -> None:
        for _ in range(times):
            try:
                self.quotas[process].check_request(_principal(key))
            except RateLimited:
                return
            for name in (key, "acme"):
                self.requests[name].add(self.clock.monotonic(), 1)

    @rule(process=st.integers(0, 2), key=st.sampled_from(KEYS), tokens=st.integers(1, 100))
    def take(self, process: int, key: str, tokens: int) -> None:
        try:
            taken = self.quotas[process].take_tokens(_principal(key), tokens)
        except TokensRateLimited:
            return
        assert taken is not None
        now = self.clock.monotonic()
        places = [self.tokens[name].add(now, tokens) for name in (key, "acme")]
        self.open.append(Open(taken, key, *places))

    @rule(process=st.integers(0, 2), key=st.sampled_from(KEYS))
    def take_all_that_is_left(self, process: int, key: str) -> None:
        standing = self.quotas[process].standing(_principal(key))
        assert standing is not None
        assert standing.tokens is not None
        if standing.tokens.remaining:
            self.take(process, key, standing.tokens.remaining)

    @precondition(lambda self: self.open)
    @rule(process=st.integers(0, 2), which=st.integers(0, 99), share=st.floats(0, 1))
    def give_back(self, process: int, which: int, share: float) -> None:
        """Another process than the one that took it may do so; the bound is the same."""
        done = self.open.pop(which % len(self.open))
        used = int(done.taken.tokens * share)
        self.quotas[process].correct_tokens(done.taken, used)
        self.tokens[done.key].units[done.at] = used
        self.tokens["acme"].units[done.tenant_at] = used

    @rule(process=st.integers(0, 2), key=st.sampled_from(KEYS))
    def never_starves(self, process: int, key: str) -> None:
        """Whoever waits as long as was said gets in, if nobody came before."""
        quotas, asks = self.quotas[process], _principal(key)
        try:
            quotas.check_request(asks)
        except RateLimited as refusal:
            self.clock.advance((refusal.retry_after or 0) + 1e-6)
            quotas.check_request(asks)
        for name in (key, "acme"):
            self.requests[name].add(self.clock.monotonic(), 1)

    @invariant()
    def nothing_is_above_its_bound(self) -> None:
        for name, (requests, tokens) in _limits().items():
            self.requests[name].require(requests)
            self.tokens[name].require(tokens)


def _principal(key: str) -> Principal:
    requests, tokens = OWN.get(key, (None, None))
    return Principal(
        tenant="acme", key_id=key, requests_per_minute=requests, tokens_per_minute=tokens
    )


def _limits() -> dict[str, tuple[int, int]]:
    of_keys = {key: OWN.get(key, (LIMITS.key_requests, LIMITS.key_tokens)) for key in KEYS}
    return {**of_keys, "acme": (LIMITS.tenant_requests, LIMITS.tenant_tokens)}


Quotas.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQuotas = Quotas.TestCase

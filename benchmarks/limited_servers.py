"""Model servers under an open-loop load, event by event in virtual time.

Two that overload differently, and one that does not: `Places` serves so many streams at once and
lets the rest queue inside; `Shared` slows all of its streams alike; `Roomy` has no limit.
A limiter in front sees what it would see in production: the time to the first result.
"""

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol


class Limiter(Protocol):
    """What is compared."""

    @property
    def limit(self) -> int: ...
    def sample(self, latency: float, in_flight: int) -> None: ...
    def dropped(self, in_flight: int) -> None: ...


class SimulatedTime:
    """Implements `ports.Clock`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@dataclass
class Server:
    """How long calls take. `slow` multiplies everything and may be changed while it runs."""

    capacity: float
    """Streams at full speed."""
    queues: bool = False
    """True: further calls wait for a place. False: all streams become slower."""
    first: float = 0.3
    """Median seconds to the first token, alone."""
    stream: float = 6.0
    """Mean seconds from there to the end, alone."""
    noise: float = 0.25
    """Standard deviation of the logarithm of both."""
    slow: float = 1.0

    @property
    def peak(self) -> float:
        """Answers a second that it can give."""
        first = self.first * math.exp(self.noise**2 / 2)
        return self.capacity / ((first + self.stream) * self.slow)

    def first_work(self, chance: random.Random) -> float:
        return self.first * math.exp(chance.gauss(0, self.noise))

    def stream_work(self, chance: random.Random) -> float:
        return self.stream * math.exp(chance.gauss(-(self.noise**2) / 2, self.noise))

    def speed(self, running: int) -> float:
        shared = 1.0 if self.queues or running == 0 else min(1.0, self.capacity / running)
        return shared / self.slow


def places(number: int = 20, **changes: float) -> Server:
    return Server(capacity=number, queues=True, **changes)


def shared(number: int = 20, **changes: float) -> Server:
    return Server(capacity=number, queues=False, **changes)


def roomy(**changes: float) -> Server:
    return Server(capacity=1e9, queues=False, **changes)


@dataclass
class Call:
    began: float
    writing: bool = False
    gone: bool = False


@dataclass
class Seen:
    """What came out of a run. Times are in seconds since its start."""

    first: list[tuple[float, float]] = field(default_factory=list)
    """When, and how long the first token took."""
    done: list[float] = field(default_factory=list)
    timed_out: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)

    def rate(self, since: float, until: float) -> float:
        """Answers a second."""
        return sum(since <= t < until for t in self.done) / (until - since)

    def waits(self, since: float, until: float) -> list[float]:
        """Times to first token of the calls that got one, sorted."""
        return sorted(wait for t, wait in self.first if since <= t < until)

    def limits_between(self, since: float, until: float) -> list[int]:
        return [limit for t, limit in self.limits if since <= t < until]


class Simulation:
    """Poisson arrivals; `room` of them wait for the limiter, the rest are refused.

    Work is measured in virtual progress, which runs at the server's speed (as in fair queueing),
    so a change of speed moves no event.
    """

    def __init__(
        self,
        server: Server,
        limiter: Limiter,
        time: SimulatedTime,
        *,
        rate: float,
        seed: int = 1,
        timeout: float = 10.0,
        room: int = 20,
    ) -> None:
        self.server, self.limiter, self.time = server, limiter, time
        self.rate, self.timeout, self.room = rate, timeout, room
        self.seen = Seen()
        self.in_flight = 0
        self._chance = random.Random(seed)
        self._progress = 0.0
        self._running = 0
        self._work: list[tuple[float, int, Call]] = []
        self._timers: deque[tuple[float, Call]] = deque()
        self._queued: deque[Call] = deque()
        self._outside = 0
        self._count = 0
        self._arrival = 0.0
        self._noted = 0.0

    def run(self, until: float) -> Seen:
        """Go on until that time; may be called again after changing something."""
        while True:
            now, act = self._next()
            if now > until:
                self._advance(until)
                return self.seen
            self._advance(now)
            act()
            self._admit()
            if now >= self._noted:
                self.seen.limits.append((now, self.limiter.limit))
                self._noted = now + 0.5

    def _next(self):
        soonest, act = self._arrival, self._arrive
        if self._work:
            speed = self.server.speed(self._running)
            at = self.time.now + max(0.0, self._work[0][0] - self._progress) / speed
            if at < soonest:
                soonest, act = at, self._advance_call
        while self._timers and (self._timers[0][1].writing or self._timers[0][1].gone):
            self._timers.popleft()
        if self._timers and self._timers[0][0] < soonest:
            soonest, act = self._timers[0][0], self._time_out
        return soonest, act

    def _advance(self, now: float) -> None:
        self._progress += (now - self.time.now) * self.server.speed(self._running)
        self.time.now = now

    def _arrive(self) -> None:
        self._arrival = self.time.now + self._chance.expovariate(self.rate)
        self._outside = min(self.room, self._outside + 1)

    def _admit(self) -> None:
        while self._outside and self.in_flight < self.limiter.limit:
            self._outside -= 1
            self.in_flight += 1
            call = Call(self.time.now)
            self._timers.append((self.time.now + self.timeout, call))
            self._queued.append(call)
            self._start_queued()

    def _start_queued(self) -> None:
        while self._queued and (not self.server.queues or self._running < self.server.capacity):
            call = self._queued.popleft()
            if not call.gone:
                self._running += 1
                self._push(call, self.server.first_work(self._chance))

    def _push(self, call: Call, work: float) -> None:
        self._count += 1
        heapq.heappush(self._work, (self._progress + work, self._count, call))

    def _advance_call(self) -> None:
        _, _, call = heapq.heappop(self._work)
        if call.gone:
            return
        if not call.writing:
            call.writing = True
            latency = self.time.now - call.began
            self.seen.first.append((self.time.now, latency))
            self._push(call, self.server.stream_work(self._chance))
            self.limiter.sample(latency, self.in_flight)
            return
        self.seen.done.append(self.time.now)
        self._leave(call)

    def _time_out(self) -> None:
        _, call = self._timers.popleft()
        self.seen.timed_out.append(self.time.now)
        self.limiter.dropped(self.in_flight)
        if call in self._queued:
            self._queued.remove(call)
            call.gone = True
            self.in_flight -= 1
        else:
            self._leave(call)

    def _leave(self, call: Call) -> None:
        call.gone = True
        self.in_flight -= 1
        self._running -= 1
        self._start_queued()

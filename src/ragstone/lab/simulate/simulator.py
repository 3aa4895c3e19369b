"""A simulated server: its behaviour, its places, its counts, and the control requests."""

import random
from collections.abc import Iterator
from functools import partial
from typing import Final, Protocol

import msgspec

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.adjustable import changed
from ragstone.lab.simulate.behaviour import Behaviour, Fault, Lognormal, draw
from ragstone.lab.simulate.exchange import Exchange, Places
from ragstone.lab.simulate.http import Connection, Request
from ragstone.lab.simulate.script import Pace, Step, is_refusal, refused
from ragstone.lab.simulate.stats import Counts, Stats, Tokens
from ragstone.lab.simulate.wheel import TimerWheel

_NO_SUCH_PATH: Final = b'{"error":{"message":"There is nothing under this path.","code":null}}'
_BAD_REQUEST: Final = b'{"error":{"message":"The body is not such a request.","code":null}}'


class Asked(Protocol):
    """One request that was understood."""

    @property
    def question(self) -> str:
        """Equal for every attempt at the same question."""
        ...

    @property
    def tokens(self) -> Tokens:
        """Those used so far: its script counts."""
        ...

    def refusal(self, fault: Fault) -> tuple[int, bytes]:
        """Status and body of an answer that is an error."""
        ...

    def script(
        self, behaviour: Behaviour, fault: Fault | None, chance: random.Random, pace: Pace
    ) -> Iterator[Step]: ...


class Service(Protocol):
    """One wire format, or several."""

    def fixed(self, request: Request) -> bytes | None:
        """The body for a request that no behaviour touches, such as the list of models."""
        ...

    def read(self, request: Request) -> Asked | None:
        """None where there is nothing under this path. Raises `msgspec.MsgspecError`."""
        ...


class Simulator:
    """Handles the requests of all connections of one event loop."""

    def __init__(self, service: Service, behaviour: Behaviour, wheel: TimerWheel) -> None:
        self._service = service
        self._first_behaviour = behaviour
        self._wheel = wheel
        self._places = Places()
        self._counts = Counts()
        self._pace: Pace = self._paced
        self._behave(behaviour)

    @property
    def behaviour(self) -> Behaviour:
        return self._behaviour

    def change(self, change: bytes) -> Behaviour:
        """Change the behaviour in part, for what comes and partly for what runs: places,
        slow-down and a freeze count at once. Raises `InvalidExperiment`."""
        behaviour = changed(self._behaviour, change, what="behaviour")
        named = msgspec.json.decode(change, type=dict[str, msgspec.Raw])
        self._behave(behaviour, reseed="seed" in named, freeze="frozen_seconds" in named)
        return behaviour

    def reset(self) -> None:
        """The behaviour and the draws of the start, and counts from nothing."""
        self._counts.clear()
        self._behave(self._first_behaviour)

    def stats(self) -> Stats:
        return self._counts.stats(self._places.waiting)

    def attempts(self) -> dict[str, int]:
        """How often each question was asked, by its hash."""
        return dict(self._counts.attempts)

    def starts(self) -> list[tuple[str, float]]:
        """The hash of each request's question, and when it came."""
        return list(self._counts.starts)

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request, at once or later."""
        fixed = self._service.fixed(request)
        if fixed is not None:
            connection.respond(200, fixed)
            return
        try:
            asked = self._service.read(request)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._counts.begun("", self._wheel.now())
            self._counts.ended("bad_request")
            connection.respond(400, _BAD_REQUEST)
            return
        if asked is None:
            self._control(request, connection)
            return
        self._answer(asked, connection)

    def _answer(self, asked: Asked, connection: Connection) -> None:
        fault = self._behaviour.fault(self._chance)
        self._counts.begun(asked.question, self._wheel.now())
        if fault is not None and is_refusal(fault):
            script = refused(*asked.refusal(fault), fault)
            Exchange(connection, script, fault.kind, self._wheel, self._refused).start()
            return
        script = asked.script(self._behaviour, fault, self._chance, self._pace)
        outcome = fault.kind if fault is not None else "complete"
        ended = partial(self._ended, asked.tokens)
        self._places.enter(Exchange(connection, script, outcome, self._wheel, ended))

    def _refused(self, exchange: Exchange, outcome: str) -> None:
        self._counts.ended(outcome)

    def _ended(self, tokens: Tokens, exchange: Exchange, outcome: str) -> None:
        self._counts.ended(outcome, tokens)
        self._places.leave(exchange)

    def _paced(self, seconds: float | Lognormal) -> float:
        if not seconds:
            return 0.0
        beside = max(0, self._places.running - 1)
        return draw(seconds, self._chance) * (1 + self._behaviour.slowdown * beside)

    def _behave(self, behaviour: Behaviour, *, reseed: bool = True, freeze: bool = True) -> None:
        self._behaviour = behaviour
        if reseed:
            self._chance = random.Random(behaviour.seed)
        if freeze:
            self._wheel.freeze(behaviour.frozen_seconds)
        self._places.limit = behaviour.places
        self._places.fill()

    def _control(self, request: Request, connection: Connection) -> None:
        match (request.method, request.path):
            case ("GET", "/control"):
                connection.respond(200, msgspec.json.encode(self._behaviour))
            case ("PUT", "/control"):
                try:
                    behaviour = self.change(request.body)
                except InvalidExperiment as error:
                    connection.respond(400, control_error(error))
                else:
                    connection.respond(200, msgspec.json.encode(behaviour))
            case ("GET", "/stats"):
                connection.respond(200, msgspec.json.encode(self.stats()))
            case ("GET", "/stats/questions"):
                connection.respond(200, msgspec.json.encode(self.attempts()))
            case ("GET", "/stats/starts"):
                connection.respond(200, msgspec.json.encode(self.starts()))
            case ("POST", "/reset"):
                self.reset()
                connection.respond(200, msgspec.json.encode(self._behaviour))
            case _:
                connection.respond(404, _NO_SUCH_PATH)


def control_error(error: InvalidExperiment) -> bytes:
    """The body of a refused change, as Ragstone's own errors are written."""
    body = {"code": error.code, "message": error.message, "remedy": error.remedy}
    return msgspec.json.encode({"error": body})

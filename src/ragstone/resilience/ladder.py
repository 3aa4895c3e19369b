"""The degradation ladder: everything that may be left out, in one place, and who decides.

Overload and failures only ever move along this list. Access control and citations are not on
it. `docs/ladder.md` shows it as a table, and a test keeps that true.
"""

from dataclasses import dataclass
from typing import Final, Literal

from ragstone.domain.principal import PRIORITIES, Priority
from ragstone.ports import Clock
from ragstone.resilience.joining import ChunkJoining
from ragstone.resilience.own_lag import OwnLag
from ragstone.resilience.pressure import CALM, PRESSED, Share, Stairs

RungName = Literal[
    "chunks_joined",
    "reranker_skipped",
    "fewer_passages",
    "shorter_answer",
    "fallback_model",
    "economy_model",
    "lexical_only",
    "partial_index",
    "extractive_answer",
    "extract_lexical",
    "passages_only",
    "answer_cut_by_length",
    "answer_cut_by_filtered",
    "answer_cut_by_other",
]

LoadRung = Literal[
    "reranker_skipped", "fewer_passages", "shorter_answer", "extract_lexical", "passages_only"
]


@dataclass(frozen=True, slots=True)
class Rung:
    """One thing that may be left out. The response says `name` in `degraded`."""

    name: RungName
    dropped: str
    saves: str
    costs: str
    """In quality."""
    moved_by: Literal[
        "load",
        "failure",
        "load, failure",
        "failure, a full model or budget",
        "a budget",
        "the model",
    ]
    says: str
    """What the response says besides the name."""


RUNGS: Final = (
    Rung(
        "chunks_joined",
        "the model's text is sent in larger pieces, up to 0.25 s of it at once",
        "CPU of relaying",
        "nothing: the text is the same",
        "load",
        "",
    ),
    Rung(
        "reranker_skipped",
        "the candidates are not reordered",
        "a call and its time",
        "the best passage is first less often",
        "load, failure",
        "a notice after a failure",
    ),
    Rung(
        "fewer_passages",
        "half of the token budget for passages",
        "input tokens, time to first token",
        "an answer that is spread over many passages may lack a part",
        "load",
        "only where a passage was left out by it",
    ),
    Rung(
        "shorter_answer",
        "half of the tokens for the answer",
        "output tokens, time at the model",
        "a long answer ends early",
        "load",
        "only where the answer was cut, then with `answer_cut_by_length`",
    ),
    Rung(
        "fallback_model",
        "the first model of the route",
        "waiting for a model that fails or is full",
        "as good as the model that answered, which `model` names",
        "failure",
        "`model`",
    ),
    Rung(
        "economy_model",
        "the dearer models of the route",
        "money, once a budget is nearly spent (`budgets.economy_at`)",
        "as good as the model that answered, which `model` names",
        "a budget",
        "`model`; `receipt.standing`",
    ),
    Rung(
        "lexical_only",
        "the search by meaning",
        "the embedding",
        "passages that use other words than the question are not found",
        "failure",
        "a notice",
    ),
    Rung(
        "partial_index",
        "parts of the index that did not answer",
        "waiting for them",
        "passages of those parts are not found",
        "failure",
        "",
    ),
    Rung(
        "extractive_answer",
        "the language model: sentences of the passages are quoted",
        "waiting for a model that fails or is full",
        "no reasoning over several passages, no rewording",
        "failure, a full model or budget",
        "`answer_kind` `extractive`; a notice that says why",
    ),
    Rung(
        "extract_lexical",
        "the comparison of sentences by meaning in an extract: words alone choose",
        "29 of 30 parts of an extract's CPU time",
        "a quote that uses other words than the question is chosen less often",
        "load, failure",
        "",
    ),
    Rung(
        "passages_only",
        "the extract: the passages are given as found",
        "the rest of its CPU time",
        "the user reads for themselves",
        "load, failure",
        "`answer_kind` `passages`; a notice after a failure",
    ),
    Rung(
        "answer_cut_by_length",
        "the rest of an answer that reached its limit",
        "nothing, it is a bound",
        "the end is missing",
        "the model",
        "",
    ),
    Rung(
        "answer_cut_by_filtered",
        "the rest of an answer that the provider withheld",
        "nothing",
        "the end is missing",
        "the model",
        "",
    ),
    Rung(
        "answer_cut_by_other",
        "the rest of an answer whose end the provider gives another reason for, or none",
        "nothing",
        "the end may be missing",
        "the model",
        "",
    ),
)

LOAD_RUNGS: Final[tuple[LoadRung, ...]] = (
    "reranker_skipped",
    "fewer_passages",
    "shorter_answer",
    "extract_lexical",
    "passages_only",
)
"""In the order in which the controller takes them: the dearest in quality last.

An extract in the place of a model's answer is not among them, since it would not relieve this
server: relaying costs no more than even the cheapest extract. It relieves the model, and there
each question decides for itself: one that finds the model full gets an extract. Taken from all
questions at once it left the model idle while the extracts kept the server busy.
"""

LAST_FOR_MODEL: Final = LOAD_RUNGS.index("shorter_answer") + 1
"""How far pressure at the model alone may go: what follows saves nothing there."""

_LEVEL_OF: Final = {name: level for level, name in enumerate(LOAD_RUNGS, start=1)}
_FEWEST: Final = 3
"""Requests in a window that can be pressure: less traffic is no load."""
_NEITHER: Final = (CALM + PRESSED) / 2
"""Neither takes a rung nor gives one back."""


def costs_quality(rung: str) -> bool:
    """Whether an answer with this label is worth less than one without it."""
    return rung != "chunks_joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderPolicy:
    """When load takes a rung and when it gives one back."""

    enabled: bool = True
    last_rung: LoadRung = "passages_only"
    wait_seconds: float = 0.02
    """A wait for a slot above this is pressure on this server."""
    lag_seconds: float = 0.05
    """An event loop that wakes later than this is pressure on this server, while it is asked."""
    first_token_seconds: float = 2.0
    """A time to first token above this is pressure at the model."""
    climb_seconds: float = 1.0
    recover_seconds: float = 5.0


class _ClassLoad:
    """What the requests of one class meet, and the level that follows it."""

    __slots__ = ("first_tokens", "stairs", "waits")

    def __init__(self, policy: LadderPolicy, now: float) -> None:
        self.waits = Share(policy.wait_seconds, fewest=_FEWEST)
        self.first_tokens = Share(policy.first_token_seconds, fewest=_FEWEST)
        self.stairs = Stairs(patience=policy.recover_seconds, now=now)


class LoadLadder:
    """Takes one rung after each `climb_seconds` of pressure, gives one back after calm.

    Pressure: half of the observations of a window are above their threshold. Calm: at most a
    tenth are. Of a server that is asked next to nothing the lag is another's load, such as that of
    its neighbours on the machine: what a lone question does without would not end it.

    Each process has its own level: load is where it is felt. See `Stairs` for why it
    does not swing, and `LAST_FOR_MODEL` for how far each kind of pressure goes.

    Each class has a level of its own, which follows what it and the classes above it meet, and
    the event loop's lag: a flood of a lower class takes nothing from a higher one. On its level
    a sheddable request is one rung further down once a rung is taken; a critical one one less far.
    """

    def __init__(self, policy: LadderPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._last = _LEVEL_OF[policy.last_rung] if policy.enabled else 0
        self._lags = Share(policy.lag_seconds)
        self._asked = 0
        """Requests in this window."""
        self._window_began = now = clock.monotonic()
        self._classes = {name: _ClassLoad(policy, now) for name in PRIORITIES}
        self._joining = ChunkJoining(enabled=policy.enabled, clock=clock)
        self.own_lag = OwnLag()

    @property
    def level(self) -> int:
        """How many rungs load has taken from standard requests, 0 to 5."""
        return self._level_of("standard")

    @property
    def rung(self) -> LoadRung | None:
        """The last one taken."""
        return LOAD_RUNGS[self.level - 1] if self.level else None

    @property
    def moves(self) -> int:
        """Rungs taken from standard requests and given back since the start."""
        return self._classes["standard"].stairs.moves

    def takes(self, rung: LoadRung, priority: Priority) -> bool:
        """Whether a request of this class leaves that out now."""
        level = self._level_of(priority)
        if priority == "critical":
            level -= 1
        elif priority == "sheddable" and 0 < level < self._last:
            level += 1
        return _LEVEL_OF[rung] <= level

    @property
    def joins_chunks(self) -> bool:
        """Whether the rung `chunks_joined` is taken."""
        return self._joining.pause > 0

    def joining_pause(self) -> float:
        """Seconds that one who has just read of a model's stream waits before the next read, so
        that more comes at once. Also counts the reads: few are not worth joining."""
        return self._joining.next_pause()

    def observe_wait(self, seconds: float, priority: Priority) -> None:
        """A request waited this long for its slot; infinite when it was refused for load, as
        `pressure.tells_of_load` has it."""
        self._asked += 1
        self._classes[priority].waits.observe(seconds)
        self._step()

    def observe_first_token(self, seconds: float, priority: Priority) -> None:
        """From asking the model to its first content; infinite when it was full."""
        self._classes[priority].first_tokens.observe(seconds)
        self._step()

    def observe_lag(self, seconds: float) -> None:
        """How late the event loop woke; several times a second, also when nothing happens."""
        self.own_lag.observe(seconds)
        # Larger pieces first: they cost nobody anything.
        self._lags.observe(0.0 if self._joining.has_more else seconds)
        self._joining.observe_lag(seconds)
        self._step()

    def _level_of(self, priority: Priority) -> int:
        """Its own, or that of a class above it which takes longer to try a step down."""
        self._step()
        level = 0
        for name, load in self._classes.items():
            level = max(level, load.stairs.level)
            if name == priority:
                break
        return level

    def _step(self) -> None:
        """Ends the window when its time is over. One move at most, however long it was."""
        now = self._clock.monotonic()
        if now - self._window_began < self._policy.climb_seconds:
            return
        self._window_began = now
        lag, model = self._lags.take(), 0.0
        own = lag if self._asked >= _FEWEST else min(lag, _NEITHER)
        self._asked = 0
        for load in self._classes.values():  # pressure is passed on to the classes below
            own = max(own, load.waits.take())
            model = max(model, load.first_tokens.take())
            self._move(load.stairs, own, model, now)

    def _move(self, stairs: Stairs, own: float, model: float, now: float) -> None:
        if stairs.level < self._reach(own, model):
            stairs.up(now)
        elif own <= CALM and (model <= CALM or stairs.level > LAST_FOR_MODEL):
            stairs.calm(now)
        else:
            stairs.stay(now)

    def _reach(self, own: float, model: float) -> int:
        """How far down this much pressure may go."""
        if own >= PRESSED:
            return self._last
        return min(self._last, LAST_FOR_MODEL) if model >= PRESSED else 0

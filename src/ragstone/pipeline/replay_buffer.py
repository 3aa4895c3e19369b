"""What a generation has told so far, kept for those who read it, each at their own pace."""

import asyncio
from types import TracebackType
from typing import Final

from ragstone.domain.answer import AnswerEvent, Delta, Done, PassagesFound
from ragstone.domain.errors import InternalError

MAX_CHARS: Final = 256 * 1024
"""Of text that is kept for readers who are behind; a long answer has 10,000."""

_MOST_PIECES: Final = 16
"""Before they are joined: a word by itself has 60 bytes more than its letters."""


class Reader:
    """How far one client has read."""

    __slots__ = ("chars", "has_seen", "is_shown")

    def __init__(self, *, is_shown: bool) -> None:
        self.is_shown = is_shown
        """Whether it sees the text as it comes. Else it is given only where the text begins, and
        the end."""
        self.has_seen = False
        """Whether it was given anything."""
        self.chars = 0
        """Of the text."""


class ReplayBuffer:
    """The passages, the text in pieces, and how it ended.

    Of more text than `max_chars` the first half goes: a reader that is further behind gets the
    rest from the whole answer, at the end.
    """

    __slots__ = (
        *("_chars", "_done", "_ending", "_kept_chars", "_max_chars", "_opening", "_pieces"),
        *("_raised_at", "_waiting", "_waiting_for_end", "error", "is_over"),
    )

    def __init__(self, *, max_chars: int = MAX_CHARS) -> None:
        self.is_over = False
        self.error: Exception | None = None
        """Why it ended without an answer."""
        self._raised_at: TracebackType | None = None
        self._max_chars = max_chars
        self._opening: PassagesFound | None = None
        self._pieces: list[str] = []
        """The newest are as they came, those before them are one."""
        self._kept_chars = 0
        """Of `_pieces`."""
        self._chars = 0
        """Of all that came."""
        self._ending: list[AnswerEvent] = []
        self._done: Done | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._waiting_for_end: list[asyncio.Future[None]] = []

    def add(self, event: AnswerEvent) -> None:
        """The next event. What follows the text is told by `end`, when all is settled."""
        if isinstance(event, PassagesFound):
            self._opening = event
        elif isinstance(event, Delta):
            self._add_text(event.text)
        else:
            self._ending.append(event)
            if isinstance(event, Done):
                self._done = event
            return
        self._tell()

    def _add_text(self, text: str) -> None:
        self._pieces.append(text)
        self._chars += len(text)
        self._kept_chars += len(text)
        if len(self._pieces) > _MOST_PIECES or self._kept_chars > self._max_chars:
            kept = "".join(self._pieces)
            if len(kept) > self._max_chars:
                kept = kept[len(kept) - self._max_chars // 2 :]
            self._pieces, self._kept_chars = [kept], len(kept)

    def end(self, error: Exception | None) -> None:
        """Nothing follows."""
        if error is None and self._done is None:
            error = InternalError("The answer ended without an end.")
        self.is_over, self.error = True, error
        self._raised_at = None if error is None else error.__traceback__
        self._waiting += self._waiting_for_end
        self._tell()

    def check(self) -> None:
        """Raises why it ended without an answer, where it did.

        With the traceback of the generation: each reader's own would be added to the others'.
        """
        if self.error is not None:
            raise self.error.with_traceback(self._raised_at)

    def forget_error(self) -> None:
        """Nobody asks for it any more. Its traceback knows the frames that know this: together
        they would wait for a garbage collection."""
        self.error = self._raised_at = None

    def news(self, reader: Reader) -> "asyncio.Future[None]":
        """Is done when there is more than now for this reader, who alone waits for it: a task that
        is cancelled cancels what it waits for. (An `asyncio.Event` costs each piece four times as
        much.)"""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waits_for_end = reader.chars and not reader.is_shown
        (self._waiting_for_end if waits_for_end else self._waiting).append(news)
        return news

    def unread(self, reader: Reader, *, opening_alone: bool) -> list[AnswerEvent]:
        """What the reader was not given yet, which it has read by that.

        `opening_alone`: the passages are given before there is text. An error is not among it.
        """
        done = self._done if self.is_over and self.error is None else None
        text = self._text_for(reader, done)
        events: list[AnswerEvent] = []
        if self._opening and not reader.has_seen and (opening_alone or text or done):
            reader.has_seen = True
            events.append(self._opening)
        if text:
            reader.chars += len(text)
            events.append(Delta(text))
        if done:
            events += self._ending
        return events

    def _text_for(self, reader: Reader, done: Done | None) -> str:
        missing = self._chars - reader.chars
        if not missing or (reader.chars and not reader.is_shown):
            return ""
        if missing > self._kept_chars:
            return done.answer.answer[reader.chars :] if done else ""
        if len(newest := self._pieces[-1]) == missing:
            return newest
        unread: list[str] = []
        for piece in reversed(self._pieces):
            unread.append(piece[-missing:])
            missing -= len(piece)
            if missing <= 0:
                break
        unread.reverse()
        return "".join(unread)

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            if not news.done():
                news.set_result(None)

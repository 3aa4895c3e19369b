"""What a generation has told so far, kept for those who read it, each at their own pace."""

import asyncio
from types import TracebackType
from typing import Final

from ragstone.domain.answer import AnswerEvent, Delta, Done, PassagesFound
from ragstone.domain.errors import InternalError

MAX_CHARS: Final = 256 * 1024
"""Of text that is kept for readers who are behind; a long answer has 10,000."""


class Reader:
    """How far one client has read."""

    __slots__ = ("chars", "has_seen", "pieces")

    def __init__(self) -> None:
        self.has_seen = False
        """Whether it was given anything."""
        self.pieces = 0
        self.chars = 0


class ReplayBuffer:
    """The passages, the text in pieces, and how it ended.

    Of the text at most `max_chars`: a reader that is further behind gets the rest from the whole
    answer, at the end.
    """

    def __init__(self, *, max_chars: int = MAX_CHARS) -> None:
        self.is_over = False
        self.error: Exception | None = None
        """Why it ended without an answer."""
        self._raised_at: TracebackType | None = None
        self._max_chars = max_chars
        self._opening: PassagesFound | None = None
        self._pieces: list[str] = []
        self._dropped = 0
        """Pieces that were there before the first of `_pieces`."""
        self._chars = 0
        self._ending: list[AnswerEvent] = []
        self._done: Done | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, event: AnswerEvent) -> None:
        """The next event. What follows the text is told by `end`, when all is settled."""
        if isinstance(event, PassagesFound):
            self._opening = event
        elif isinstance(event, Delta):
            self._pieces.append(event.text)
            self._chars += len(event.text)
            while self._chars > self._max_chars:
                self._chars -= len(self._pieces.pop(0))
                self._dropped += 1
        else:
            self._ending.append(event)
            if isinstance(event, Done):
                self._done = event
            return
        self._tell()

    def end(self, error: Exception | None) -> None:
        """Nothing follows."""
        if error is None and self._done is None:
            error = InternalError("The answer ended without an end.")
        self.is_over, self.error = True, error
        self._raised_at = None if error is None else error.__traceback__
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

    def news(self) -> "asyncio.Future[None]":
        """Is done when there is more than now. For one reader: a task that is cancelled cancels
        what it waits for. (An `asyncio.Event` costs each piece four times as much.)"""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(news)
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
            reader.pieces = self._dropped + len(self._pieces)
            reader.chars += len(text)
            events.append(Delta(text))
        if done:
            events += self._ending
        return events

    def _text_for(self, reader: Reader, done: Done | None) -> str:
        if reader.pieces >= self._dropped:
            return "".join(self._pieces[reader.pieces - self._dropped :])
        return done.answer.answer[reader.chars :] if done else ""

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            if not news.done():
                news.set_result(None)

"""What an application of this server is: a prompt, a retrieval recipe and limits, frozen."""

import msgspec

from ragstone.domain.principal import Priority


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """One way of answering. Its name and a collection's name make a model name in the API."""

    name: str
    description: str
    system_prompt: str
    """Sent first and unchanged with every question, so that providers' prompt caches hit."""
    prompt_version: str
    """Raised with every change of wording: part of every cache key."""
    not_found: str
    """The sentence with which it says that the evidence holds no answer."""
    passages_only: str
    """The sentence with which it gives the passages when there is no room for an answer."""
    max_question_chars: int = 8_000
    priority: Priority = "standard"
    """Of questions whose key names none."""
    max_turns: int = 12
    """Earlier messages that the model sees, the latest first to stay."""

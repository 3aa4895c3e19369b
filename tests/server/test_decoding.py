"""What a request is told of JSON that does not fit."""

from typing import Literal

import msgspec
import pytest

from ragstone.domain.errors import InvalidRequest
from ragstone.server import answers, budgets, chat, documents, embeddings, keys, search
from ragstone.server.decoding import decode


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    question: str
    modes: list[Literal["dense", "lexical"]] = []
    turns: tuple[Turn, ...] = ()
    last: Turn | None = None
    counts: dict[str, int | list[int]] = {}


def refused(raw: bytes, decoder: msgspec.json.Decoder[object]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(raw, decoder)
    return caught.value


@pytest.mark.parametrize(
    ("raw", "field", "words", "remedy"),
    [
        (b"[]", None, "expected `object`, got `array`", "See /docs"),
        (b'{"question": 1}', "question", "expected `str`, got `int`", "See /docs"),
        (b'{"question": "", "modes": ["x"]}', "modes[0]", "'x'", "Give one of: dense, lexical."),
        (b'{"question": "", "last": {"role": "x"}}', "last.role", "'x'", "assistant, user."),
        (b'{"question": "", "turns": [{}]}', "turns[0].role", "not say its `turns[0].role`", "it"),
        (b'{"question": "", "turns": [{"rol": ""}]}', "turns[0].rol", "no field", "`role`?"),
        (b'{"question": "", "zz": 1}', "zz", "no field `zz`", "Known ones: question, modes"),
        (b'{"question": "", "counts": {"a": [1, ""]}}', "counts[...][1]", "expected", "See"),
        # A name that pretends to be a place only fools its sender.
        (b'{"question": "", "\\n` - at `$.x": 1}', "x.\n", "no field", "See /docs"),
        (b'{"question": "", "": 1}', None, "unknown field", "See /docs"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_and_what_may_stand_there(
    raw: bytes, field: str | None, words: str, remedy: str
) -> None:
    error = refused(raw, msgspec.json.Decoder(Body))
    assert error.field == field
    assert words in error.message
    assert remedy in (error.remedy or "")


def test_a_long_name_is_not_told_whole() -> None:
    error = refused(b'{"question": "", "%s": 1}' % (b"x" * 9_000), msgspec.json.Decoder(Body))
    assert len(error.message) < 100


@pytest.mark.parametrize(
    "decoder",
    [
        answers._REQUEST,
        budgets._REQUEST,
        chat._REQUEST,
        documents._BODY,
        embeddings._REQUEST,
        keys._REQUEST,
        search._BODY,
    ],
)
def test_every_body_can_be_looked_into(decoder: msgspec.json.Decoder[object]) -> None:
    assert refused(b"[]", decoder).message.endswith("expected `object`, got `array`.")

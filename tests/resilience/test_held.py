"""A context that several hold is left once, by the last of them, and hears why."""

from contextlib import AbstractAsyncContextManager

import pytest

from ragstone.resilience.held import Held


class Place(AbstractAsyncContextManager[object]):
    """Counts who leaves it."""

    def __init__(self) -> None:
        self.left: list[object] = []

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        self.left.append(kind)


async def test_who_fails_is_heard_of_and_not_silenced() -> None:
    place = Place()
    with pytest.raises(KeyError):
        async with Held(place):
            raise KeyError
    assert place.left == [KeyError]


async def test_who_has_handed_it_over_does_not_leave_it() -> None:
    place = Place()
    async with Held(place) as held:
        other = held.handed_over()
    assert place.left == []
    async with other:
        assert place.left == []
    assert place.left == [None]


@pytest.mark.parametrize("sharing", range(4))
async def test_it_is_left_by_the_last(sharing: int) -> None:
    place = Place()
    held = Held(place)
    for _ in range(sharing):
        assert held.shared() is held
    for _ in range(sharing):
        async with held:
            """One of many."""
        assert place.left == []
    async with held:
        """The last."""
    assert place.left == [None]

"""The tree of errors is as its docstring draws it, and codes are unique and stable."""

import re

from ragstone.domain import errors
from ragstone.domain.errors import RagstoneError, did_you_mean


def _tree(cls: type[RagstoneError]) -> list[type[RagstoneError]]:
    found = [cls]
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            found += _tree(child)
    return found


def test_the_docstring_draws_every_error_in_its_place() -> None:
    assert errors.__doc__ is not None
    drawn: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^( {4}(?:\|?   )*(?:\+-- )?)(?:\| {3})*([A-Z]\w+)", line)
        if not match:
            continue
        depth = line.index(match[2])
        path = [entry for entry in path if entry[0] < depth]
        drawn[match[2]] = path[-1][1] if path else None
        path.append((depth, match[2]))
    actual = {
        cls.__name__: cls.__base__.__name__ if cls is not RagstoneError else None
        for cls in _tree(RagstoneError)
    }
    assert drawn == actual


def test_codes_are_not_shared_but_by_parent_and_child() -> None:
    owners: dict[str, type[RagstoneError]] = {}
    for cls in _tree(RagstoneError):
        first = owners.setdefault(cls.code, cls)
        assert issubclass(cls, first), (cls, first)


def test_the_nearest_name_is_proposed() -> None:
    assert did_you_mean("hepl", ["help", "products"], what="collections") == "Did you mean 'help'?"
    assert "help, products" in did_you_mean("zzz", ["help", "products"], what="collections")
    assert "no collections yet" in did_you_mean("x", [], what="collections")

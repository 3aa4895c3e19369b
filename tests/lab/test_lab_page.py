"""The page on the laboratory names every field of what it describes."""

from pathlib import Path

import pytest

from ragstone.lab.fault_proxy.faults import Direction, Faults
from ragstone.lab.simulate.behaviour import Behaviour, Fault

PAGE = (Path(__file__).parents[2] / "docs" / "lab.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [Behaviour, Fault, Faults, Direction])
def test_every_field_is_named(kind) -> None:
    assert [name for name in kind.__struct_fields__ if f"`{name}`" not in PAGE] == []

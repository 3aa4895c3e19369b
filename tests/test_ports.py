"""`ragstone.ports` names every port, whatever file it is in."""

import importlib
import pkgutil

from ragstone import ports


def test_every_class_of_its_files_is_exported() -> None:
    defined = {
        name
        for info in pkgutil.iter_modules(ports.__path__, f"{ports.__name__}.")
        for name, value in vars(importlib.import_module(info.name)).items()
        if getattr(value, "__module__", None) == info.name
    }
    assert defined - set(ports.__all__) == set()
    assert {name for name in ports.__all__ if not hasattr(ports, name)} == set()

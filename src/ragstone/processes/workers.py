"""How many gateway processes a machine gets; docs/decisions/0006-processes.md has the figures."""

from typing import Final

from ragstone.domain.errors import InvalidSettings
from ragstone.hop.address import address_of
from ragstone.settings import Settings, cores

_MOST: Final = 4
"""Gateways that one engine feeds: it does the embedding and searching of all."""


def gateways_for(settings: Settings) -> int:
    """0: all in one process. Raises `InvalidSettings` for settings that contradict."""
    workers = settings.server.workers
    if settings.engine.url:
        _require_possible(settings)
        return workers or 1
    if workers is not None:
        return workers
    return default_gateways(cores())


def default_gateways(cores: int) -> int:
    """With one core or two, more processes only take turns; else the engine has one for itself."""
    return 0 if cores <= 2 else min(cores - 1, _MOST)


def require_data_here(settings: Settings) -> None:
    """Raises `InvalidSettings` where the data folder is another machine's."""
    if settings.engine.url:
        raise InvalidSettings(
            f"The documents and keys are with the engine at {settings.engine.url} (engine.url), "
            f"not in the data folder {settings.home}.",
            remedy="Run this command on that machine, or use the HTTP interface; to work with "
            "a data folder here, leave engine.url empty.",
            field="engine.url",
        )


def _require_possible(settings: Settings) -> None:
    address_of(settings.engine.url)
    if settings.server.workers == 0:
        raise InvalidSettings(
            "With engine.url there is no engine here, so server.workers cannot be 0.",
            remedy="Set server.workers to 1 or more, or leave engine.url empty.",
            field="server.workers",
        )
    if not settings.engine.token.get_secret_value():
        raise InvalidSettings(
            "The engine at engine.url needs a token that vouches for this gateway.",
            remedy="Set engine.token to the value that it has there.",
            field="engine.token",
        )

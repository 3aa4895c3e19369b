"""Where an engine listens."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from ragstone.domain.errors import InvalidSettings
from ragstone.hop.messages import LOCAL_HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAddress:
    """A Unix socket, or a host and port."""

    socket: str | None = None
    host: str = LOCAL_HOST
    port: int = 80
    tls: bool = False

    def __str__(self) -> str:
        if self.socket is not None:
            return "on this machine"
        return f"at {self.base_url}"

    @property
    def base_url(self) -> str:
        """Without a path and a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def address_of(url: str) -> EngineAddress:
    """Of the setting `engine.url`. Raises `InvalidSettings`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unusable(url) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise _unusable(url)
    tls = parts.scheme == "https"
    return EngineAddress(host=parts.hostname, port=port or (443 if tls else 80), tls=tls)


def _unusable(url: str) -> InvalidSettings:
    return InvalidSettings(
        f"The setting engine.url is {url[:100]!r}, which is no address of an engine.",
        remedy="Give it as http://HOST:PORT, without a path.",
        field="engine.url",
    )

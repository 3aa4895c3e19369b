"""The server under load: its address, and whether it may be loaded."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from ragstone.domain.errors import InvalidExperiment, TargetNotConfirmed


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. The name is resolved once: a run must not measure name servers."""

    host: str
    """As requests name it, with the port where the URL has one."""
    address: str
    port: int
    tls: bool
    prefix: str
    """What stands before `/v1/...` in the path."""

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}{self.prefix}"


def resolve_target(url: str, *, confirmed: bool) -> Target:
    """The target at `url`.

    Raises `InvalidExperiment` for what is no URL of a server, and `TargetNotConfirmed` for one
    beyond this machine, unless the caller has `confirmed` that it is theirs to load.
    """
    try:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        port = parts.port
    except ValueError:
        raise _no_url(url) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise _no_url(url)
    tls = parts.scheme == "https"
    port = port or (443 if tls else 80)
    address = _address(parts.hostname, port)
    if not confirmed and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise TargetNotConfirmed(
            f"{parts.hostname} is not this machine, and load can put a server down.",
            remedy="If it is yours to load, say so with --i-own-this-target.",
        )
    host = parts.netloc.rpartition("@")[2]
    return Target(host, address, port, tls, parts.path.rstrip("/"))


def _address(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InvalidExperiment(
            f"There is no host {host[:80]!r}.", remedy="Look at the URL for a slip."
        ) from None
    # Servers bind 127.0.0.1 more often than ::1, and "localhost" may name both.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return str(found[0][4][0])


def _no_url(url: str) -> InvalidExperiment:
    return InvalidExperiment(
        f"{url[:80]!r} is not the URL of a server.", remedy="Write http://127.0.0.1:8080."
    )

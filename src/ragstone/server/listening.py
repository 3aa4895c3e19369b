"""Sockets to listen on. Light, since a supervisor has them before anything else is loaded."""

import errno
import ipaddress
import os
import socket
from functools import lru_cache
from typing import Final

from ragstone.domain.errors import PortInUse, StartupError

BACKLOG: Final = 2048


def prepare(host: str, port: int) -> tuple[socket.socket, object]:
    """A TCP socket and the address that `bind` gives it.

    Raises `StartupError` where `host` is the name of no machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (socket.gaierror, UnicodeError):  # a label too long for DNS is a UnicodeError
        raise unknown_host(host) from None
    except OSError as error:
        raise _unusable(host, port, error) from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return listener, address


def bind(listener: socket.socket, address: object, host: str, port: int) -> None:
    """Begin to listen. Raises `PortInUse`, or `StartupError` for a bad address."""
    try:
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} on {host} is in use by another program.",
                remedy="Give another with --port, or 0 for any free one.",
                field="server.port",
            ) from None
        raise _unusable(host, port, error) from None


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises `PortInUse`, or `StartupError` for a bad address."""
    listener, address = prepare(host, port)
    try:
        bind(listener, address, host, port)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_on_path(path: str) -> socket.socket:
    """A listening Unix socket for this user alone; what lies at `path` is replaced."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        draft = f"{path}.{os.getpid()}"
        listener.bind(draft)
        os.chmod(draft, 0o600)
        listener.listen(BACKLOG)
        os.replace(draft, path)  # whoever finds it finds somebody listening
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def local_url_of(host: str, port: int) -> str:
    """As programs of this machine reach it."""
    return url_of("127.0.0.1" if is_any(host) else host, port)


def is_any(host: str) -> bool:
    """Every address of this machine."""
    return host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unknown_host(host: str) -> StartupError:
    return StartupError(
        f"There is no host {host[:100]!r} to listen on.",
        remedy="Give --host an address of this machine, such as 127.0.0.1.",
        field="server.host",
    )


def _unusable(host: str, port: int, error: Exception) -> StartupError:
    reason = getattr(error, "strerror", None) or error
    return StartupError(
        f"The server cannot listen on {host}:{port}: {reason}.",
        remedy="Check --host and --port.",
        field="server.host",
    )

"""What a process and its metrics say about itself, seen from outside."""

import os
from pathlib import Path


def metric_values(page: str, name: str) -> dict[str, float]:
    """Values of a metric on a Prometheus page, by its labels as they are written."""
    found: dict[str, float] = {}
    for line in page.splitlines():
        if line.startswith((f"{name} ", f"{name}{{")):
            labels, _, value = line.removeprefix(name).rpartition(" ")
            found[labels.strip()] = float(value)
    return found


def metric_total(page: str, name: str, *having: str) -> float:
    """The sum over all labels that contain each of `having`, such as `outcome="ok"`."""
    return sum(
        value
        for labels, value in metric_values(page, name).items()
        if all(part in labels for part in having)
    )


def sockets(pid: int) -> list[tuple[int, int]]:
    """Local and remote port of each TCP connection that the process holds. Linux only."""
    own = _socket_inodes(pid)
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[9] in own and fields[3] != "0A":  # 0A: listening
                found.append((_port(fields[1]), _port(fields[2])))
    return found


def children(pid: int) -> list[int]:
    """Processes that the process has started, and that live. Linux only."""
    try:
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:
        return []


def resident_bytes(pid: int) -> int:
    """Memory that the process occupies; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _socket_inodes(pid: int) -> set[str]:
    folder = Path(f"/proc/{pid}/fd")
    links = []
    try:
        for entry in folder.iterdir():
            try:
                links.append(os.readlink(entry))
            except OSError:
                continue  # closed meanwhile
    except OSError:
        return set()
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)

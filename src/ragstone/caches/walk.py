"""How far a walk through all entries of a cache server has come."""

from collections.abc import Iterable


class Walk:
    """First through the lists, then through the entries, of which only those that are not listed
    need be read. What is struck off a list behind its back is for the next walk to find."""

    def __init__(self, evicted: int | None, groups: list[bytes]) -> None:
        """`evicted`: as the server counted before; None where another walk has to follow."""
        self.evicted = evicted
        self.unread = groups
        """Groups whose lists are not read to the end."""
        self.cursor = 0
        """In the list of the last of them; with none left, among the entries."""
        self._listed: set[bytes] = set()

    def read(self, keys: Iterable[bytes]) -> None:
        """Keys of the last unread group, whose list ends where the cursor is 0 again."""
        self._listed.update(keys)
        if not self.cursor:
            self.unread.pop()

    def unlisted(self, keys: Iterable[bytes]) -> list[bytes]:
        return [key for key in keys if key not in self._listed]

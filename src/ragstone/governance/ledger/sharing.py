"""How a cost is split among those who share it."""


def share(amount: int, parties: int, place: int) -> int:
    """Of the party at `place`, from 0: even, and the remainder is the first's."""
    even, remainder = divmod(amount, parties)
    return even + remainder if place == 0 else even

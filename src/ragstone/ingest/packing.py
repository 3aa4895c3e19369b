"""Atoms to chunks: where to cut a run of atoms so that the chunks are full and end well."""

from collections.abc import Sequence

from ragstone.ingest.atoms import Atom


def pack(
    atoms: Sequence[Atom], target: int, carried: Sequence[int] | None = None
) -> list[tuple[int, int]]:
    """Cut `atoms` into chunks of at most `target` tokens; returns half-open index pairs.

    Minimises the sum over chunks of the squared share of the target left empty, plus the price
    of each cut (`Atom.cut`), by dynamic programming over the cuts, as Knuth and Plass break
    paragraphs into lines (Software: Practice and Experience 11, 1981). Linear in the number of
    atoms times the atoms that fit into a chunk. `carried[i]` are the tokens that a chunk
    beginning at atom `i` repeats from before it.
    """
    count = len(atoms)
    cost = [0.0] + [float("inf")] * count
    previous = [0] * (count + 1)
    for end in range(1, count + 1):
        size = 0
        for begin in range(end - 1, -1, -1):
            size += atoms[begin].tokens
            if size > target and begin < end - 1:
                break
            total = size + carried[begin] if carried is not None and begin else size
            if total > target and begin < end - 1:
                continue
            slack = 1.0 - min(total, target) / target
            price = cost[begin] + slack * slack + (atoms[begin].cut if begin else 0.0)
            if price < cost[end]:
                cost[end], previous[end] = price, begin
    spans: list[tuple[int, int]] = []
    end = count
    while end:
        spans.append((previous[end], end))
        end = previous[end]
    spans.reverse()
    return spans

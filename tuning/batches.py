"""Which pairs stand together in a batch: the others' positives are an anchor's negatives, so this decides what is
learned. No batch holds a text twice; on request no document twice, or pairs of one decade only.
"""

from __future__ import annotations

import random

from sentence_transformers.base.sampler import DefaultBatchSampler


def pair_order(decades: list[int], together: str, dice: random.Random) -> list[int]:
    """Return the rows in random order; with `together` "decade" decade after decade, random within each."""
    order = list(range(len(decades)))
    dice.shuffle(order)
    if together == "decade":
        order.sort(key=lambda row: decades[row])
    return order


def fill_batches(order: list[int], keys: list[set], size: int, drop_last: bool) -> tuple[list[list[int]], list[int]]:
    """Put each row into the first batch that has room and shares no key with it.

    Returns:
        The batches, as many as the rows fill, none of more than `size`; and the rows that fit into none of them.
        With drop_last the rows beyond the last full batch are among those.
    """
    count = len(order) // size if drop_last else -(-len(order) // size)
    batches, held, first, left = [[] for _ in range(count)], [set() for _ in range(count)], 0, []
    for row in order:
        fitting = (i for i in range(first, count) if len(batches[i]) < size and held[i].isdisjoint(keys[row]))
        place = next(fitting, None)
        if place is None:
            left.append(row)
            continue
        batches[place].append(row)
        held[place] |= keys[row]
        while first < count and len(batches[first]) == size:
            first += 1
    return [batch for batch in batches if batch], left


class PairBatches(DefaultBatchSampler):
    """The trainer's batch sampler. The order depends on seed and epoch alone.

    Args:
        keys: for each row what must not meet in a batch: its two texts; its document, too, to exclude same-document
            negatives.
        decades: for each row its decade.
        together: "any", or "decade": a batch holds pairs of one decade. Where a decade's pairs don't fill their last
            batch, those of the next one do.
    """

    def __init__(self, *arguments, keys: list[set], decades: list[int], together: str, **options):
        super().__init__(*arguments, **options)
        self.keys, self.decades, self.together, self.left_out = keys, decades, together, []

    def __len__(self) -> int:
        rows = len(self.keys)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __iter__(self):
        dice = random.Random(f"batches {self.seed} {self.epoch}")
        order = pair_order(self.decades, self.together, dice)
        batches, self.left_out = fill_batches(order, self.keys, self.batch_size, self.drop_last)
        dice.shuffle(batches)
        yield from batches

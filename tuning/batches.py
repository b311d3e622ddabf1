"""Which pairs share a batch: the others' positives are an anchor's negatives, so no batch holds a text twice.

The library's NO_DUPLICATES sampler may yield more batches than it announces; then the steps of an epoch are not known,
and a training that was stopped would not resume in the same order. This one yields exactly what it announces.
"""

from __future__ import annotations

import random

from sentence_transformers.base.sampler import DefaultBatchSampler


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
        keys: for each row what must not be twice in a batch: its two texts.
    """

    def __init__(self, *arguments, keys: list[set], **options):
        super().__init__(*arguments, **options)
        self.keys, self.left_out = keys, []

    def __len__(self) -> int:
        rows = len(self.keys)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __iter__(self):
        dice = random.Random(f"batches {self.seed} {self.epoch}")
        order = list(range(len(self.keys)))
        dice.shuffle(order)
        batches, self.left_out = fill_batches(order, self.keys, self.batch_size, self.drop_last)
        dice.shuffle(batches)
        yield from batches

"""What a batch teaches: Multiple Negatives Ranking Loss that leaves other passages of the anchor's own document out.

The integer document of each pair comes in the column `label`, which the library's collator hands to the loss; a
column of another name would be tokenised as text.
"""

from __future__ import annotations

import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import all_gather, all_gather_with_grad, cos_sim
from torch import Tensor
from torch.nn import functional


class NonFiniteLoss(ArithmeticError):
    """The loss became infinite or NaN: from here on training would only spoil the model."""


def ranking_loss(
    anchors: Tensor, positives: Tensor, documents: Tensor | None, own: Tensor, scale: float, symmetric: bool
) -> Tensor:
    """Return the mean cross-entropy of finding each anchor's positive among all positives of the batch.

    Multiple Negatives Ranking Loss (Henderson et al. 2017, arXiv 1705.00652, §4.4), with cosine similarities
    multiplied by `scale`.

    Args:
        anchors, positives: float, (pairs, dimensions); row i of one belongs to row i of the other.
        documents: int, (pairs,): a positive of the anchor's own document, other than its own, is no negative. None
            to take all others as negatives.
        own: int, (rows,): the pairs whose loss is asked for; the others serve as negatives.
        symmetric: average with the loss of finding each positive's anchor among all anchors.
    """
    directions = [(anchors, positives), (positives, anchors)] if symmetric else [(anchors, positives)]
    same = None
    if documents is not None:
        same = documents[own][:, None] == documents[None, :]
        same[torch.arange(len(own), device=own.device), own] = False
    total = 0.0
    for queries, candidates in directions:
        scores = scale * cos_sim(queries[own], candidates)
        if same is not None:
            scores = scores.masked_fill(same, -torch.inf)
        total = total + functional.cross_entropy(scores, own)
    return total / len(directions)


def gathered(anchors: Tensor, positives: Tensor, documents: Tensor | None, gather: bool):
    """Return the pairs of all processes, and which of them are this one's."""
    own = torch.arange(len(anchors), device=anchors.device)
    if gather:
        own = own + torch.distributed.get_rank() * len(anchors)
        anchors, positives = all_gather_with_grad(anchors), all_gather_with_grad(positives)
        documents = None if documents is None else all_gather(documents)
    return anchors, positives, documents, own


class MaskedRankingLoss(MultipleNegativesRankingLoss):
    """The ranking loss over one batch, and over all processes' batches where there are several."""

    def __init__(self, model, *, scale: float, symmetric: bool, mask: bool, gather: bool):
        super().__init__(model, scale=scale, gather_across_devices=gather)
        self.symmetric, self.mask = symmetric, mask

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        documents = labels if self.mask else None
        pairs = gathered(embeddings[0], embeddings[1], documents, self.gather_across_devices)
        return finite(ranking_loss(*pairs, self.scale, self.symmetric))


class CachedMaskedRankingLoss(CachedMultipleNegativesRankingLoss):
    """The same loss for batches larger than memory: passages are embedded `mini_batch_size` at a time, twice
    (Gao et al. 2021, arXiv 2101.06983); a third more arithmetic.
    """

    def __init__(self, model, *, scale: float, symmetric: bool, mask: bool, gather: bool, mini_batch_size: int):
        super().__init__(model, scale=scale, gather_across_devices=gather, mini_batch_size=mini_batch_size)
        self.symmetric, self.mask = symmetric, mask

    def calculate_loss(self, reps, labels: Tensor | None = None, *, with_backward: bool = False) -> Tensor:
        anchors, positives = (torch.cat(part) for part in reps)
        documents = labels if self.mask else None
        anchors, positives, documents, own = gathered(anchors, positives, documents, self.gather_across_devices)
        total = 0.0
        for rows in own.split(self.mini_batch_size):
            share = len(rows) / len(own)
            loss = share * ranking_loss(anchors, positives, documents, rows, self.scale, self.symmetric)
            if with_backward:
                # Several rows' losses share the gathered graph.
                loss.backward(retain_graph=True)
                loss = loss.detach()
            total = total + loss
        return finite(total)


def finite(loss: Tensor) -> Tensor:
    """Return the loss; NonFiniteLoss where it is none."""
    if not torch.isfinite(loss):
        raise NonFiniteLoss
    return loss


def build_loss(model, args, gather: bool):
    """Return the loss that the flags ask for."""
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    options = {"scale": args.scale, "symmetric": args.symmetric, "mask": args.same_document == "mask", "gather": gather}
    if args.mini_batch_size:
        loss = CachedMaskedRankingLoss(model, mini_batch_size=args.mini_batch_size, **options)
    else:
        loss = MaskedRankingLoss(model, **options)
    return MatryoshkaLoss(model, loss, args.matryoshka) if args.matryoshka else loss

"""What a batch teaches: Multiple Negatives Ranking Loss without the other passages of the anchor's own document.

The library computes the loss (Henderson et al. 2017, arXiv 1705.00652, §4.4). Ours is the mask: each embedding carries
the numbers of its document and of its pair in two more columns, which the similarity takes off again. So they go
wherever the library takes the embeddings: into mini-batches, across GPUs.

The integer document of each pair comes in the column `label`, which the library's collator hands to the loss; a
column of another name would be tokenised as text.
"""

from __future__ import annotations

import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import cos_sim, get_rank
from torch import Tensor

from .recipe import Recipe


class NonFiniteLoss(ArithmeticError):
    """The loss became infinite or NaN: from here on training would only spoil the model."""


def numbered(embeddings: Tensor, documents: Tensor) -> Tensor:
    """Return the embeddings, (pairs, dimensions), with the document's and the pair's number in two more columns."""
    pairs = get_rank() * len(documents) + torch.arange(len(documents), device=documents.device)
    # Half precision has no whole numbers beyond 256; float32 has all up to 16 million.
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    return torch.cat([wide, torch.stack([documents, pairs], dim=1).to(wide)], dim=1)


def masked_similarity(queries: Tensor, candidates: Tensor) -> Tensor:
    """Return the cosines of numbered rows, −∞ for another pair of the same document: (queries, candidates)."""
    same_document = queries[:, None, -2] == candidates[None, :, -2]
    other_pair = queries[:, None, -1] != candidates[None, :, -1]
    return cos_sim(queries[:, :-2], candidates[:, :-2]).masked_fill(same_document & other_pair, -torch.inf)


def finite(loss: Tensor) -> Tensor:
    """Return the loss; NonFiniteLoss where it is none."""
    if not torch.isfinite(loss):
        raise NonFiniteLoss
    return loss


class RankingLoss(MultipleNegativesRankingLoss):
    """The ranking loss over one batch, and over all processes' batches where there are several."""

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        if self.similarity_fct is masked_similarity:
            embeddings = [numbered(column, labels) for column in embeddings]
        return finite(super().compute_loss_from_embeddings(embeddings, labels))


class CachedRankingLoss(CachedMultipleNegativesRankingLoss):
    """The same loss for batches larger than memory: passages are embedded `mini_batch_size` at a time, twice
    (Gao et al. 2021, arXiv 2101.06983); a third more arithmetic.
    """

    def calculate_loss(self, reps, labels: Tensor | None = None, *, with_backward: bool = False) -> Tensor:
        if self.similarity_fct is masked_similarity:
            reps = [[numbered(torch.cat(column), labels)] for column in reps]
        return finite(super().calculate_loss(reps, labels, with_backward=with_backward))


def build_loss(model, recipe: Recipe, gather: bool):
    """Return the loss that the recipe asks for; with `gather` each process's positives serve all as negatives."""
    both = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    options = {
        "scale": recipe.scale,
        "similarity_fct": masked_similarity if recipe.same_document == "mask" else cos_sim,
        "gather_across_devices": gather,
        **(both if recipe.symmetric else {}),
    }
    if recipe.mini_batch_size:
        return CachedRankingLoss(model, mini_batch_size=recipe.mini_batch_size, **options)
    return RankingLoss(model, **options)

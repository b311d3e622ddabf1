"""The tokens of the training texts, made once instead of in every epoch.

In: the model and the texts it is trained on. Out: what the library's collator asks the model for, the same tensors.
"""

from __future__ import annotations

import torch

from encoder import own_prompt, padded, tokenized

AT_ONCE = 8192  # texts: their tokens as Python numbers take 130 MB


class TokenizedOnce:
    """Stands in for model.preprocess in the collator.

    Args:
        texts: all that batches will hold; 120,000 of 500 tokens take 250 MB.
    """

    def __init__(self, model, texts: list[str]):
        self.model, self.tokens = model, {}
        self.like = model.preprocess(texts[:1], prompt=own_prompt(model))
        for start in range(0, len(texts), AT_ONCE):
            part = texts[start : start + AT_ONCE]
            self.tokens.update(zip(part, (torch.tensor(ids, dtype=torch.int32) for ids in tokenized(model, part))))

    def __call__(self, texts: list[str], **_) -> dict:
        """Return the features of one column of a batch, padded to its longest text."""
        ids, mask = padded(self.model, [self.tokens[text] for text in texts])
        tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        return {name: tensors.get(name, value) for name, value in self.like.items()}

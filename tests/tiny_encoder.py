"""Make a tiny, randomly initialised sentence encoder: a real BERT with two layers, for tests that run in seconds."""

import sys
from pathlib import Path

WORDS = 400  # vocabulary; the tests' texts are made of w0 … w399


def make_tiny_encoder(folder: str | Path, seed: int = 0) -> Path:
    """Write a SentenceTransformer with 32 dimensions and at most 64 tokens to the folder; return the folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate(special + [f"w{i}" for i in range(WORDS)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    parts = Path(folder) / "parts"
    BertModel(config).save_pretrained(parts)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **names).save_pretrained(parts)
    transformer = Transformer(str(parts), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(32), Normalize()], device="cpu")
    model.save(str(Path(folder) / "model"), create_model_card=False)
    return Path(folder) / "model"


if __name__ == "__main__":
    print(make_tiny_encoder(sys.argv[1]))

"""encoder.py: the fast loop's vectors, their order and its counts are those of the library's plain encode()."""

import random

import numpy as np
import pytest
import torch

import encoder
from encoder import Encoder, EncoderSettings


class Done:
    """A bar that counts."""

    def __init__(self):
        self.n = 0

    def update(self, count):
        self.n += count


def texts_of(count=70):
    """Return texts of 1 to 90 words, of which the tiny encoder reads 62; some are equally long, the last one empty."""
    dice = random.Random(0)
    return [" ".join(f"w{dice.randrange(400)}" for _ in range(dice.choice((1, 7, 30, 61, 62, 63, 90))))
            for _ in range(count - 1)] + [""]  # fmt: skip


def encoded(folder, texts, monkeypatch, precision="fp32", window=16, tokens=300, **settings):
    """Return the vectors, the encoder and the bar."""
    monkeypatch.setattr(encoder, "WINDOW", window)
    monkeypatch.setattr(encoder, "BATCH_TOKENS", {"cpu": tokens})
    given = {"batch_size": None, "max_seq_length": None, "dtype": "float32"} | settings
    made, bar = Encoder(EncoderSettings(str(folder), "cpu", precision, **given)), Done()
    return made.encode(texts, bar), made, bar


def plain(folder, texts, **options):
    """Return what the library's encode() gives, one passage at a time."""
    return encoder.load_model("-m", str(folder), "cpu").encode(texts, batch_size=1, show_progress_bar=False, **options)


@pytest.mark.parametrize("how", [{}, {"window": 1000}, {"window": 70}, {"tokens": 1}, {"batch_size": 3}])
def test_vectors_are_those_of_the_plain_loop_in_the_texts_order(tiny_encoder, monkeypatch, how):
    texts = texts_of()
    found, made, bar = encoded(tiny_encoder, texts, monkeypatch, **how)
    np.testing.assert_allclose(found, plain(tiny_encoder, texts), atol=1e-6)
    assert found.dtype == np.float32 and bar.n == len(texts)
    assert made.cut == sum(len(text.split()) >= 62 for text in texts)  # two tokens mark beginning and end


def test_half_precision_is_near_and_what_follows_the_transformer_is_computed_in_whole(tiny_encoder, monkeypatch):
    texts, seen = texts_of(), []
    forward = torch.nn.Module.register_forward_pre_hook
    found, made, _ = encoded(tiny_encoder, texts[:3], monkeypatch, "bf16")
    forward(made.model[1], lambda _, given: seen.append(given[0]["token_embeddings"].dtype))
    found = made.encode(texts, Done())
    assert made.model[0].model.dtype == torch.bfloat16 and set(seen) == {torch.float32}
    assert (found * plain(tiny_encoder, texts)).sum(axis=1).min() > 0.999 and found.dtype == np.float32


def test_float16_is_stored_on_request(tiny_encoder, monkeypatch):
    found, _, _ = encoded(tiny_encoder, texts_of(), monkeypatch, dtype="float16")
    assert found.dtype == np.float16 and abs(found - plain(tiny_encoder, texts_of())).max() < 1e-3


def test_only_the_thread_that_tokenizes_sets_up_the_tokenizer(tiny_encoder, monkeypatch):
    """The library's preprocess() changes where texts are cut, and would do so for texts under way."""
    made = Encoder(EncoderSettings(str(tiny_encoder), "cpu", "fp32", None, None, "float32"))
    made.load()
    monkeypatch.setattr(made.model, "preprocess", None)
    np.testing.assert_allclose(made.encode(texts_of(), Done()), plain(tiny_encoder, texts_of()), atol=1e-6)


def test_passages_are_cut_where_it_is_asked_for(tiny_encoder, monkeypatch):
    texts = texts_of()
    found, made, _ = encoded(tiny_encoder, texts, monkeypatch, max_seq_length=20)
    np.testing.assert_allclose(found, plain(tiny_encoder, [" ".join(t.split()[:18]) for t in texts]), atol=1e-6)
    assert made.cut == sum(len(text.split()) >= 18 for text in texts)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.slow
def test_a_prompt_is_put_before_and_pooled_as_the_model_says(tiny_encoder, tmp_path, monkeypatch, pooled):
    model = encoder.load_model("-m", str(tiny_encoder), "cpu")
    encoder.set_prompt(model, "w1 w2 ")
    model[1].include_prompt = pooled
    model.save(str(tmp_path / "m"), create_model_card=False)
    texts = texts_of()
    found, _, _ = encoded(tmp_path / "m", texts, monkeypatch)
    np.testing.assert_allclose(found, plain(tmp_path / "m", texts), atol=1e-6)
    assert abs(found - plain(tiny_encoder, texts)).max() > 0.01


@pytest.mark.parametrize("side", ["padding_side", "truncation_side"])
def test_a_tokenizer_that_pads_or_cuts_on_the_left_is_followed(tiny_encoder, tmp_path, monkeypatch, side):
    model = encoder.load_model("-m", str(tiny_encoder), "cpu")
    setattr(model.tokenizer, side, "left")
    model.save(str(tmp_path / "m"), create_model_card=False)
    texts = texts_of()
    found, _, _ = encoded(tmp_path / "m", texts, monkeypatch)
    options = {"show_progress_bar": False}
    same = encoder.load_model("-m", str(tmp_path / "m"), "cpu").encode(texts, batch_size=32, **options)
    np.testing.assert_allclose(found, same, atol=1e-6)


def test_batches_hold_as_many_tokens_as_they_may_and_at_least_one_passage():
    lengths = [9, 9, 5, 5, 4, 1, 0]
    batches = list(encoder.batches_by_tokens(list(range(7)), lengths, most_tokens=15, most=2))
    assert batches == [[0], [1], [2, 3], [4, 5], [6]]

"""Models of other kinds than BERT: they are tuned and embed, or are refused in one sentence before any work."""

import json
import shutil

import pytest
import torch
from small_corpus import make_word_corpus

import Apply_Tuned_Model as apply
import corpus
import encoder
import script
import TuneEmbeddings as tune
from script import InputError
from tuning import trainer

WORDS = ["[PAD]", "[UNK]", "</s>", *(f"w{i}" for i in range(400))]


def words_tokenizer(**names):
    """Return a tokenizer of the tests' words that has only the special tokens named."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, **names)


def neox(folder, **names):
    """A decoder with rotary positions and no token for padding."""
    from transformers import GPTNeoXConfig, GPTNeoXModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = GPTNeoXConfig(vocab_size=len(WORDS), max_position_embeddings=64, **sizes)
    GPTNeoXModel(config).save_pretrained(folder)
    words_tokenizer(**(names or {"eos_token": "</s>"})).save_pretrained(folder)


def without_any_special_token(folder):
    neox(folder, unk_token="[UNK]")


def modules(folder, *parts):
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(modules=list(parts), device="cpu").save(str(folder), create_model_card=False)


def word_vectors(folder):
    """The mean of word vectors, as in GloVe models, which cut after a million words."""
    from sentence_transformers.sentence_transformer.modules import Pooling, WordEmbeddings
    from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

    vectors = WordEmbeddings(WhitespaceTokenizer(WORDS), torch.randn(len(WORDS), 16), update_embeddings=True)
    modules(folder, vectors, Pooling(16))


def two_towers(folder):
    """One tower for questions and one for answers: which of them passages go through in training, nobody says."""
    from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding

    towers = [[StaticEmbedding(words_tokenizer(), embedding_dim=16)] for _ in range(2)]
    modules(folder, Router.for_query_document(*towers))


def counts(folder):
    """Counts of words: there is nothing in it to train."""
    from sentence_transformers.sentence_transformer.modules import BoW

    modules(folder, BoW(WORDS))


def without_finite_weights(folder):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    part = StaticEmbedding(words_tokenizer(), embedding_dim=16)
    torch.nn.init.constant_(part.embedding.weight, float("nan"))
    modules(folder, part)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Return a corpus of 24 documents and a pair table of it."""
    folder = make_word_corpus(tmp_path_factory.mktemp("words"))
    rows = []
    for document in corpus.read_metadata(folder.metadata)[0]:
        texts = corpus.ChunkFolder(folder.chunks).passages(document)
        cells = (document.paper_id, document.year, texts[0], texts[1], "successive")
        rows.append(dict(zip(corpus.PAIR_COLUMNS, cells)))
    corpus.write_pairs(folder.folder / "pairs.tsv", rows)
    return folder


def train(words, model, output, *flags):
    base = ["-d", str(words.folder / "pairs.tsv"), "-o", str(output), "--base-model", str(model), "--device", "cpu"]
    return tune.main([*base, "--epochs", "1", "--batch-size", "8", "--eval-fraction", "0.2", *flags])


def embed(words, model, output, *flags):
    return apply.main(["-m", str(model), *words.flags, "-o", str(output), "--device", "cpu", "--limit", "2", *flags])


@pytest.mark.parametrize("make", [neox, word_vectors])
@pytest.mark.slow
def test_models_of_other_kinds_are_tuned_and_embed(words, tmp_path, make):
    make(tmp_path / "m")
    assert train(words, tmp_path / "m", tmp_path / "t", "--check") == 0 and not (tmp_path / "t").exists()
    assert train(words, tmp_path / "m", tmp_path / "t", "--precision", "bf16") == 0
    assert script.read_json(tmp_path / "t/training.json")["counts"]["truncated_passages"] == 0
    assert embed(words, tmp_path / "t/final", tmp_path / "e") == 0
    assert sum(len(paper_ids) for paper_ids, _, _ in corpus.each_decade(tmp_path / "e")) == 24


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (without_any_special_token, "can't embed a passage (Asking to pad"),
        (two_towers, "can't be trained (You are using a Router"),
        (counts, "can't be trained (it has no weights to train); choose another model."),
        (without_finite_weights, "has a loss of infinity or NaN before it is trained; pass --precision fp32"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_check_and_training_alike(words, tmp_path, capsys, make, complaint):
    make(tmp_path / "m")
    for flags in (["--check"], []):
        assert train(words, tmp_path / "m", tmp_path / "t", *flags) == 2
        (said,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("TuneEmbeddings.py: "))
        assert f"--base-model {tmp_path / 'm'} {complaint}" in said


def test_a_model_that_does_not_cut_passages_refuses_a_length(words, tmp_path, capsys):
    two_towers(tmp_path / "m")
    assert embed(words, tmp_path / "m", tmp_path / "e", "--max-seq-length", "16") == 2
    assert "--max-seq-length 16: this model can't cut passages; leave the flag out." in capsys.readouterr().err
    assert embed(words, tmp_path / "m", tmp_path / "e") == 0


def test_a_name_that_is_empty_is_refused_before_the_folder_one_stands_in_is_read(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(encoder, "file_digest", lambda path: pytest.fail(f"{path} was read"))
    assert embed(words, "", tmp_path / "e") == 2
    assert "Apply_Tuned_Model.py: -m  can't be loaded" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind", "Bert Roberta XLMRoberta DistilBert MPNet Albert DebertaV2 ModernBert NomicBert Bart GPT2 Qwen3".split()
)
def test_a_configuration_has_its_attention_dropout_under_one_of_the_names_that_training_sets(kind):
    import transformers

    assert sum(hasattr(getattr(transformers, f"{kind}Config")(), name) for name in trainer.ATTENTION_DROPOUT) == 1


@pytest.mark.parametrize(("kind", "offset"), [("Roberta", 2), ("GPT2", 0), ("OPT", 0), ("BertGeneration", 0)])
def test_a_length_beyond_the_table_of_positions_is_refused(kind, offset):
    import transformers

    config = getattr(transformers, "BertGenerationEncoder" if kind == "BertGeneration" else f"{kind}Model").config_class
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    model = torch.nn.Sequential(transformers.AutoModel.from_config(config(max_position_embeddings=66, **sizes)))
    model.max_seq_length = 66
    encoder.check_length(model, 66 - offset)
    with pytest.raises(InputError, match=f"positions for {66 - offset} tokens at most"):
        encoder.check_length(model, 67 - offset)


# ---- code that a model brings


@pytest.fixture
def with_code(tmp_path, tiny_encoder, monkeypatch):
    """Return a model with a module of its own behind the library's; importing it leaves a file."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path / "cache"))
    model = tmp_path / "with_code"
    shutil.copytree(tiny_encoder, model)
    (model / "halving.py").write_text(
        "from pathlib import Path\n"
        "from sentence_transformers.sentence_transformer.modules import Dropout\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class Halving(Dropout):\n"
        "    def forward(self, features):\n"
        "        features['sentence_embedding'] = features['sentence_embedding'] / 2\n"
        "        return features\n"
    )
    parts = json.loads((model / "modules.json").read_text())
    (model / "9_Halving").mkdir()
    (model / "9_Halving/config.json").write_text('{"dropout": 0.0}')
    parts.append({"idx": len(parts), "name": "9", "path": "9_Halving", "type": "halving.Halving"})
    (model / "modules.json").write_text(json.dumps(parts))
    return model


@pytest.mark.slow
def test_code_that_a_model_brings_runs_only_with_the_flag_and_the_record_names_it(words, with_code, tmp_path, capsys):
    assert train(words, with_code, tmp_path / "t", "--check") == 2
    assert embed(words, with_code, tmp_path / "e") == 2
    told = (
        "brings code of its own, which can do whatever you can; read it, and if you trust it, pass --trust-remote-code."
    )
    assert capsys.readouterr().err.count(told) == 2
    assert not (tmp_path / "ran").exists()

    assert train(words, with_code, tmp_path / "t", "--trust-remote-code") == 0
    assert embed(words, tmp_path / "t/final", tmp_path / "e") == 2
    assert embed(words, tmp_path / "t/final", tmp_path / "e", "--trust-remote-code") == 0
    for record in ("t/training.json", "e/manifest.json"):
        assert script.read_json(tmp_path / record)["arguments"]["trust_remote_code"] is True
    assert train(words, with_code, tmp_path / "t", "--trust-remote-code", "--centre", "0.9") == 0


@pytest.mark.parametrize("place", ["at_import", "in_forward"])
@pytest.mark.slow
def test_a_signal_while_the_base_model_loads_is_no_fault_of_the_model(words, with_code, tmp_path, place):
    """Else the job would end as failed where Slurm's warning comes that early, and would not go on in a new run."""
    code = (with_code / "halving.py").read_text()
    told = "__import__('os').kill(__import__('os').getpid(), 10)\n"
    forward = code.replace("        return features\n", f"        {told}        return features\n")
    (with_code / "halving.py").write_text(code + told if place == "at_import" else forward)
    assert train(words, with_code, tmp_path / "t", "--trust-remote-code", "--check") == tune.EXIT_STOPPED
    assert not (tmp_path / "t/stopped.json").exists()
    assert train(words, with_code, tmp_path / "t", "--trust-remote-code") == tune.EXIT_STOPPED
    assert script.read_json(tmp_path / "t/stopped.json")["where"] == "stopped by SIGUSR1"

"""The levers of TuneEmbeddings.py: batches and losses by hand, the split, a loss that explodes."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_tune import command, pairs, weights  # noqa: F401

import corpus
import script
import TuneEmbeddings as tune
from encoder import load_model, set_prompt
from tuning import batches, loss, split, tokens, trainer
from tuning.folder import newest_whole_checkpoint
from tuning.recipe import recipe_of

# ---- the loss


def unit(*rows):
    vectors = torch.tensor(rows, dtype=torch.float64)
    return (vectors / vectors.norm(dim=1, keepdim=True)).requires_grad_()


def loss_of(anchors, positives, documents=None, scale=20.0, symmetric=False):
    """Return the loss of a batch of embeddings, as training computes it; masked where documents are given."""
    asked = SimpleNamespace(
        scale=scale, symmetric=symmetric, mini_batch_size=None, same_document="allow" if documents is None else "mask"
    )
    labels = torch.zeros(len(anchors), dtype=int) if documents is None else documents
    return loss.build_loss(None, asked, gather=False).compute_loss_from_embeddings([anchors, positives], labels)


def test_the_loss_of_two_pairs_by_hand():
    anchors, positives = unit([1, 0], [0, 1]), unit([1, 0], [1, 1])
    half = 0.5**0.5
    # Cosines [[1, √½], [0, √½]], scale 1.
    one_way = (-np.log(np.e / (np.e + np.exp(half))) - np.log(np.exp(half) / (1 + np.exp(half)))) / 2
    assert loss_of(anchors, positives, scale=1.0).item() == pytest.approx(one_way)
    back = (-np.log(np.e / (np.e + 1)) - np.log(np.exp(half) / (2 * np.exp(half)))) / 2
    both = loss_of(anchors, positives, scale=1.0, symmetric=True).item()
    assert both == pytest.approx((one_way + back) / 2)


@pytest.mark.parametrize("symmetric", [False, True])
def test_masked_pairs_of_one_document_neither_push_nor_pull_each_other(symmetric):
    """Pairs 0 and 1 are of document 7. By hand, d loss/d cos(a_i, p_j) = scale · (softmax_ij − [i = j]) / pairs."""
    torch.manual_seed(0)
    anchors, positives = (torch.randn(3, 5, dtype=torch.float64) for _ in range(2))
    anchors, positives = (torch.nn.functional.normalize(x).requires_grad_() for x in (anchors, positives))
    documents, scale = torch.tensor([7, 7, 8]), 3.0
    value = loss_of(anchors, positives, documents, scale, symmetric)
    gradient = torch.autograd.grad(value, [anchors, positives])

    cosines = (anchors @ positives.T).detach()
    allowed = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 1]], dtype=torch.float64)
    by_cosine = torch.zeros(3, 3, dtype=torch.float64)
    for matrix, turn in ((cosines, False), (cosines.T, True))[: 1 + symmetric]:
        weights = torch.exp(scale * matrix) * allowed
        part = scale * (weights / weights.sum(dim=1, keepdim=True) - torch.eye(3)) / 3
        by_cosine += part.T if turn else part
    by_cosine /= 1 + symmetric
    assert by_cosine[0, 1] == by_cosine[1, 0] == 0

    def through_cosine(own, other, by):
        """d cos(u, v)/du = v − cos(u, v) u for unit vectors."""
        return by @ other - (by * (own @ other.T)).sum(dim=1, keepdim=True) * own

    expected = (through_cosine(anchors, positives, by_cosine), through_cosine(positives, anchors, by_cosine.T))
    for found, by_hand in zip(gradient, expected):
        torch.testing.assert_close(found, by_hand.detach())


def test_the_mask_knows_forty_thousand_documents_in_half_precision():
    """bfloat16 has no whole number between 40000 and 40192: the numbers must not be rounded with the embeddings."""
    rows, documents = torch.eye(3, dtype=torch.bfloat16), torch.tensor([40000, 40001, 40001])
    found = loss.masked_similarity(loss.numbered(rows, documents), loss.numbered(rows, documents))
    assert torch.isinf(found).tolist() == [[False] * 3, [False, False, True], [False, True, False]]


def test_the_cached_loss_is_the_same_loss_with_the_same_gradient(tiny_encoder):
    from sentence_transformers import SentenceTransformer

    texts = [[f"w{i} w{i + 1} w{i + 2}" for i in range(k, k + 7)] for k in (0, 50)]
    labels = torch.tensor([1, 1, 2, 3, 3, 3, 4])

    def gradient(mini_batch_size):
        model = SentenceTransformer(str(tiny_encoder), device="cpu")
        model.eval()  # without dropout
        asked = {"scale": 20.0, "symmetric": True, "same_document": "mask", "mini_batch_size": mini_batch_size}
        built = loss.build_loss(model, SimpleNamespace(**asked), gather=False)
        value = built([model.preprocess(column) for column in texts], labels)
        value.backward()
        return value.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, cached = gradient(None), gradient(3)
    assert plain[0] == pytest.approx(cached[0], rel=1e-5) and plain[1].keys() == cached[1].keys()
    for name, value in plain[1].items():
        rounding = 3e-5 * float(value.abs().max()) + 1e-8  # of sums in another order: 1e-5 of the largest, measured
        torch.testing.assert_close(value, cached[1][name], rtol=0, atol=rounding, msg=name)


@pytest.mark.parametrize("flag, rate", [([], 0.0), (["--attention-dropout"], 0.1)])
def test_attention_has_no_dropout_unless_it_is_asked_for(tiny_encoder, pairs, tmp_path, flag, rate):  # noqa: F811
    args = tune.parse_args([*command(pairs, tiny_encoder, tmp_path), *flag])
    model = trainer.load_base_model(recipe_of(args), SimpleNamespace(device="cpu"), trust=False)
    layer = model[0].model.encoder.layer[0]
    assert (layer.attention.self.dropout.p, layer.output.dropout.p) == (rate, 0.1)


@pytest.mark.parametrize(
    "device, precision, tokens, used",
    [
        ("cpu", "bf16", 160, "eager"),
        ("cpu", "bf16", 161, "sdpa"),
        ("cpu", "fp32", 64, "sdpa"),
        ("cuda", "bf16", 64, "sdpa"),
    ],
)
def test_short_passages_have_plain_attention_in_training_where_it_is_faster(
    tiny_encoder, device, precision, tokens, used
):
    model = load_model("-m", str(tiny_encoder), "cpu")
    model.max_seq_length = tokens
    transformer = model[0].model
    text = model.preprocess(["w1 w2 w3", "w4 w5"])

    def gradient():
        model.zero_grad()
        model.eval()(text)["sentence_embedding"][:, 0].sum().backward()
        return transformer.embeddings.word_embeddings.weight.grad.clone()

    before = gradient()
    with trainer.attention_for_training(model, SimpleNamespace(device=device, precision=precision)):
        assert transformer.config._attn_implementation == used
        torch.testing.assert_close(gradient(), before)
    assert transformer.config._attn_implementation == "sdpa"


# ---- the batches


def test_no_text_twice_in_a_batch():
    rows = [{"anchor": f"a{i % 30}", "positive": f"p{i}"} for i in range(90)]
    order = list(range(90))
    random.Random(1).shuffle(order)
    filled, left = batches.fill_batches(order, [{row["anchor"], row["positive"]} for row in rows], 8, False)
    assert sorted([row for batch in filled for row in batch] + left) == list(range(90)) and len(left) <= 8
    for batch in filled:
        assert len({rows[i]["anchor"] for i in batch}) == len(batch) <= 8


def sampler(seed=0, drop_last=False):
    rows = [{"x": i} for i in range(50)]
    return batches.PairBatches(rows, 8, drop_last, seed=seed, keys=[{i} for i in range(50)])


def test_the_order_depends_on_seed_and_epoch_alone():
    built = sampler()
    first, again = list(built), list(built)
    built.set_epoch(1)
    assert first == again != list(built) and first != list(sampler(seed=1))
    assert len(first) == len(built) == 7
    assert len(list(sampler(drop_last=True))) == 6 and {len(batch) for batch in sampler(drop_last=True)} == {8}


# ---- the split


def table(tmp_path, rows):
    corpus.write_pairs(tmp_path / "t.tsv", [dict(zip(corpus.PAIR_COLUMNS, row)) for row in rows])
    return ["-d", str(tmp_path / "t.tsv"), "-o", str(tmp_path / "m"), "--eval-fraction", "0.3"]


def split_of(words, *more):
    args = tune.parse_args([*words, *more])
    rows = split.read_training_pairs(args.datasource, None)
    return split.split_rows(rows, recipe_of(args), args.metadatapath)


def test_a_text_of_a_held_out_document_is_not_trained_on(tmp_path, caplog):
    rows = [(f"d{i}", 1900, f"anchor {i}", f"positive {i}", "successive") for i in range(40)]
    held = {row["paperId"] for row in split_of(table(tmp_path, rows)).held_rows}
    train = next(f"d{i}" for i in range(40) if f"d{i}" not in held)
    reprint = f"anchor  {next(iter(held))[1:]}"  # spaces apart
    rows += [(train, 1900, reprint, "something else", "successive")]
    train_rows, held_rows = split_of(table(tmp_path, rows))
    texts = [{" ".join(r[c].split()) for r in part for c in ("anchor", "positive")} for part in (train_rows, held_rows)]
    assert texts[0].isdisjoint(texts[1]) and len(train_rows) + len(held_rows) == 40
    assert "1 training pairs left out" in caplog.text


def test_no_passage_of_a_held_out_document_is_trained_on_where_the_chunk_files_are_given(
    tmp_path, corpus_folder, caplog, capsys
):
    """Every document but the last is reprinted by the next one: a held-out one's text that is in none of its pairs."""
    rows = [(f"d{i}", 1900, f"own text {i}", f"text {i}", "successive") for i in range(40)]
    for i in range(40):
        corpus_folder.add(f"d{i}", 1900, [f"own text {i}", f"text {i}", f"own  text {i - 1}"])
    words = [*table(tmp_path, rows), "-t", str(corpus_folder.metadata)]
    apart, held_rows = split_of(words)
    held = {int(row["paperId"][1:]) for row in held_rows}
    reprinted = {i for i in range(40) if i + 1 in held} - held
    assert len(apart) + len(held_rows) == 40 and reprinted
    args = tune.parse_args([*words, "-r", str(corpus_folder.chunks)])
    chunks, pair_rows = corpus.ChunkFolder(args.rootfolder), split.read_training_pairs(args.datasource, None)
    train_rows, _ = split.split_rows(pair_rows, recipe_of(args), args.metadatapath, chunks)
    assert {int(row["paperId"][1:]) for row in train_rows} == set(range(40)) - held - reprinted
    assert f"{len(reprinted)} training pairs left out" in caplog.text
    with pytest.raises(SystemExit):
        tune.parse_args([*table(tmp_path, rows), "-r", str(corpus_folder.chunks)])
    assert "-r/--rootfolder needs -t/--metadatapath" in capsys.readouterr().err


def test_whole_authors_are_held_out_on_request(tmp_path):
    rows = [(f"d{i}", 1900, f"a {i}", f"p {i}", "successive") for i in range(40)]
    metadata = tmp_path / "meta.tsv"
    metadata.write_text("paperId\tyear\tauthor\n" + "".join(f"d{i}\t1900\tauthor {i // 4}\n" for i in range(40)))
    words = [*table(tmp_path, rows), "--hold-out-by", "author"]
    train_rows, held_rows = split_of(words, "-t", str(metadata))
    authors = [{int(row["paperId"][1:]) // 4 for row in part} for part in (train_rows, held_rows)]
    assert authors[0].isdisjoint(authors[1]) and len(authors[0] | authors[1]) == 10
    with pytest.raises(script.InputError, match="needs the metadata"):
        split_of(words)
    metadata.write_text("paperId\tyear\nd0\t1900\n")
    with pytest.raises(script.InputError, match="has no author of d0"):
        split_of(words, "-t", str(metadata))


def test_a_documents_texts_are_recombined_and_no_pair_is_there_twice():
    rows = [
        {"paperId": f"d{i}", "year": "1900", "anchor": f"a{i}.{j}", "positive": f"p{i}.{j}", "category": "successive"}
        for i in range(3)
        for j in range(i + 1)
    ]
    added = split.recombined(rows, 2, seed=0)
    all_pairs = {(row["paperId"], frozenset((row["anchor"], row["positive"]))) for row in [*rows, *added]}
    assert len(all_pairs) == len(rows) + len(added) and all(len(pair) == 2 for _, pair in all_pairs)
    # d0 has one pair, so nothing else; d1 of 4 texts has 6 pairs, 2 taken; d2 of 6 has 15, 3 taken.
    assert [sum(row["paperId"] == f"d{i}" for row in added) for i in range(3)] == [0, 4, 6]
    for row in added:
        assert row["anchor"][1:].startswith(row["paperId"][1:]) and row["positive"][1:].startswith(row["paperId"][1:])
    assert added == split.recombined(rows, 2, seed=0) != split.recombined(rows, 2, seed=1)


# ---- whole runs


@pytest.mark.slow
def test_every_lever_at_once_trains_and_is_recorded(pairs, tiny_encoder, tmp_path):  # noqa: F811
    folder = tmp_path / "model"
    levers = "--same-document allow --no-symmetric --attention-dropout --mini-batch-size 4 --scale 30"
    levers += " --centre 1 --whiten 0.5"
    assert tune.main([*command(pairs, tiny_encoder, folder), *levers.split(), "--prompt", "w1 "]) == 0
    made_with = json.loads((folder / "training.json").read_text())["recipe"]
    assert (made_with["same_document"], made_with["symmetric"], made_with["mini_batch_size"]) == ("allow", False, 4)
    assert made_with["attention_dropout"] is True
    assert (made_with["scale"], made_with["centre"], made_with["whiten"], made_with["prompt"]) == (30, 1, 0.5, "w1 ")

    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder / "final"), device="cpu")
    prompted = SentenceTransformer(str(folder / "final"), device="cpu")
    prompted.default_prompt_name = None
    np.testing.assert_allclose(model.encode(["w5 w6"]), prompted.encode(["w1 w5 w6"]), atol=1e-6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model_bit_for_bit(pairs, tiny_encoder, tmp_path):  # noqa: F811
    for name in ("one", "two"):
        assert tune.main(command(pairs, tiny_encoder, tmp_path / name)) == 0
    one, two = (weights(tmp_path / name / "final") for name in ("one", "two"))
    assert all((one[name] == two[name]).all() for name in one) and one.keys() == two.keys()


@pytest.mark.slow
def test_passages_cut_short_are_counted(pairs, tiny_encoder, tmp_path, caplog):  # noqa: F811
    folder = tmp_path / "model"
    assert tune.main([*command(pairs, tiny_encoder, folder, "--max-seq-length", "8"), "--epochs", "1"]) == 0
    counts = json.loads((folder / "training.json").read_text())["counts"]
    distinct = {row[name] for row in corpus.read_pairs(pairs) for name in ("anchor", "positive")}  # of 12 words each
    assert 0 < counts["truncated_passages"] <= 2 * counts["training_pairs"]
    assert counts["truncated_passages"] > len(distinct) / 2  # the others are held out
    assert "are longer than 8 tokens and are cut" in caplog.text


@pytest.mark.parametrize(
    ("rows", "flags", "complaint"),
    [
        ([("d", "a1", "p1"), ("d", "a2", "p2")], [], "pairs to train on are of one document, d"),
        ([("d", "a", "p"), ("e", "a", "q"), ("f", "r", "a")], [], "all 3 pairs to train on have a text in common"),
        ([("d", "a", "p"), ("e", "b", "q")], ["--batch-size", "1"], "--batch-size 1 leaves an anchor without"),
    ],
)
def test_pairs_without_negatives_are_refused_before_training(tiny_encoder, tmp_path, capsys, rows, flags, complaint):
    words = table(tmp_path, [(d, 1900, anchor, positive, "successive") for d, anchor, positive in rows])
    words += ["--base-model", str(tiny_encoder), "--eval-fraction", "0", "--device", "cpu", *flags]
    assert tune.main(words) == 2 and complaint in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_a_training_that_learned_nothing_says_so(tiny_encoder, tmp_path, caplog):
    """Any two of the three pairs share a text, and no batch holds a text twice."""
    rows = [(d, 1900, f"w{i}", f"w{j}", "successive") for d, i, j in (("d", 1, 2), ("e", 2, 3), ("f", 1, 3))]
    words = [*table(tmp_path, rows), "--base-model", str(tiny_encoder), "--eval-fraction", "0", "--device", "cpu"]
    assert tune.main(words) == 0 and "nothing was learned: the loss was 0 throughout" in caplog.text
    assert script.read_json(tmp_path / "m/training.json")["learned"] is False


@pytest.mark.slow
def test_a_loss_that_explodes_stops_the_run_and_keeps_the_last_good_checkpoint(pairs, tiny_encoder, tmp_path, capsys):  # noqa: F811
    folder = tmp_path / "model"
    flags = command(pairs, tiny_encoder, folder, "--precision", "fp32", "--save-steps", "1", "--learning-rate", "1e38")
    flags.append("--overwrite")
    assert tune.main(flags) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "model/overwrites.json").exists()  # with --overwrite, the same command starts anew
    assert "the loss became infinite or NaN after step" in said and "lower --learning-rate than 1e+38" in said
    kept = newest_whole_checkpoint(folder)
    assert kept is not None and str(kept) in said and not (folder / "final").exists()
    assert all(np.isfinite(value).all() for value in weights(kept).values())


# ---- tokens made once


@pytest.mark.parametrize("prompt", [None, "w1 w2 "])
def test_a_batch_made_of_tokens_kept_is_the_librarys_own(tiny_encoder, prompt):
    model = load_model("-m", str(tiny_encoder), "cpu")
    set_prompt(model, prompt)
    dice = random.Random(0)
    texts = [" ".join(f"w{dice.randrange(400)}" for _ in range(length)) for length in (3, 90, 61, 62, 63, 20, 20, 0)]
    once = tokens.TokenizedOnce(model, texts)
    for batch in (texts, texts[:1], texts[5:7], texts[::-1]):
        ours, own = once(batch, prompt=prompt, task=None), model.preprocess(batch, prompt=prompt)
        assert ours.keys() == own.keys() and list(ours) == list(own)
        for name, value in own.items():
            same = torch.equal(ours[name], value) if isinstance(value, torch.Tensor) else ours[name] == value
            assert same and getattr(ours[name], "dtype", None) == getattr(value, "dtype", None)


@pytest.mark.slow
def test_a_training_on_tokens_kept_is_the_same_to_the_last_bit(pairs, tiny_encoder, tmp_path, monkeypatch):  # noqa: F811
    flags = "--epochs", "2", "--recombine", "1"
    assert tune.main(command(pairs, tiny_encoder, tmp_path / "once", *flags)) == 0
    monkeypatch.setattr(tokens, "TokenizedOnce", lambda model, texts: model.preprocess)
    assert tune.main(command(pairs, tiny_encoder, tmp_path / "each", *flags)) == 0
    once, each = (script.read_json(tmp_path / name / "training.json") for name in ("once", "each"))
    assert once["loss_curve"] == each["loss_curve"] and once["scores"] == each["scores"]
    found = [weights(tmp_path / name / "final") for name in ("once", "each")]
    assert all(np.array_equal(*values) for values in zip(*(part.values() for part in found)))

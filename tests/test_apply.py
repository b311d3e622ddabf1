"""Apply_Tuned_Model.py with a tiny real encoder: one decade in, one file out, none twice, none half."""

import json

import numpy as np
import pytest

import Apply_Tuned_Model as apply
import corpus


@pytest.fixture
def run(word_corpus, tiny_encoder, tmp_path):
    """Return a function that applies the tiny encoder to the word corpus and gives back status and folder."""

    def run(*flags, model=tiny_encoder):
        folder = tmp_path / "embeddings"
        base = ["-m", str(model), "-o", str(folder), "--device", "cpu", "--precision", "fp32"]
        return apply.main([*base, *word_corpus.flags, *flags]), folder

    return run


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}


def test_one_file_a_decade_in_metadata_order(run, word_corpus, tiny_encoder):
    from sentence_transformers import SentenceTransformer

    status, folder = run()
    assert status == 0 and sorted(files(folder)) == [f"{d}.parquet" for d in range(1900, 1960, 10)]
    ids, numbers, vectors = corpus.read_embeddings(folder / "1910.parquet")
    assert ids == [f"doc{i:02d}" for i in range(4, 8) for _ in range(12)]
    assert numbers.tolist() == list(range(12)) * 4 and vectors.shape == (48, 32)
    documents, _ = corpus.read_metadata(word_corpus.metadata)
    texts = corpus.ChunkFolder(word_corpus.chunks).passages(documents[5])
    model = SentenceTransformer(str(tiny_encoder), device="cpu")
    np.testing.assert_allclose(vectors[12:24], model.encode(texts), atol=1e-5)


def test_the_manifest_comes_last_and_counts(run, word_corpus):
    (word_corpus.chunks / "doc05.txt").unlink()
    status, folder = run()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert status == 0
    assert (manifest["documents"], manifest["passages"], manifest["dimensions"]) == (23, 23 * 12, 32)
    assert [record["decade"] for record in manifest["decades"]] == list(range(1900, 1960, 10))
    assert manifest["decades"][1]["without_passages"] == ["doc05"]
    assert manifest["oddities"]["documents_without_file"] == 1


def test_years_start_inclusive_end_exclusive(run):
    _, folder = run("-s", "1905", "-e", "1920")
    assert sorted(files(folder)) == ["1900.parquet", "1910.parquet"]
    assert set(corpus.read_embeddings(folder / "1900.parquet")[0]) == {"doc02", "doc03"}


def test_decades_that_are_done_are_skipped(run):
    _, folder = run()
    before = files(folder)
    assert run()[0] == 0 and files(folder) == before


def test_only_what_is_missing_changed_or_cut_is_embedded_again(run, word_corpus):
    _, folder = run("-s", "1905")  # 1900.parquet holds only half a decade
    before = files(folder)
    (folder / "1910.parquet").unlink()
    word_corpus.add("late", 1955, ["w1 w2 w3"])
    _, folder = run()
    changed = {name for name, time in files(folder).items() if before.get(name) != time}
    assert changed == {"1900.parquet", "1910.parquet", "1950.parquet"}
    assert "late" in corpus.read_embeddings(folder / "1950.parquet")[0]


def test_another_model_embeds_everything_again(run, tmp_path):
    from tiny_encoder import make_tiny_encoder

    _, folder = run()
    before = files(folder)
    _, folder = run(model=make_tiny_encoder(tmp_path / "other", seed=1))
    assert not set(before.values()) & set(files(folder).values())


def test_tsv_and_float16(run):
    _, folder = run("--format", "tsv", "-e", "1910")
    header = (folder / "1900.tsv").read_text().split("\n")[0].split("\t")
    assert header == ["paperId", "chunknumber", *(f"embedding_{i}" for i in range(1, 33))]
    exact = corpus.read_embeddings(folder / "1900.tsv")[2]
    run("--dtype", "float16", "-e", "1910")
    half = corpus.read_embeddings(folder / "1900.parquet")[2]
    np.testing.assert_allclose(half, exact, atol=1e-3)
    assert (half != exact).any()


def test_a_stop_between_decades_leaves_whole_decades_and_no_manifest(run, word_corpus, capsys):
    (word_corpus.chunks / "doc09.txt").write_text("no tab\n")  # in the 1920s
    status, folder = run()
    assert status == 2 and "doc09.txt, line 1: no tab" in capsys.readouterr().err
    assert sorted(files(folder)) == ["1900.parquet", "1910.parquet"]
    assert not (folder / "manifest.json").exists()
    assert [path.name for path in folder.iterdir() if "partial" in path.name] == []


def test_tasks_for_single_decades_share_a_folder_and_its_manifest(run):
    for year in range(1900, 1960, 10):
        status, folder = run("-s", str(year), "-e", str(year + 10))
        assert status == 0
    assert len(json.loads((folder / "manifest.json").read_text())["decades"]) == 6


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["-s", "2000"], "has no document of the years asked for"),
        (["-m", "no/model"], "-m no/model is not a model"),
    ],
)
def test_bad_input_is_one_sentence(run, capsys, flags, complaint):
    assert run(*flags)[0] == 2
    assert complaint in capsys.readouterr().err.strip().splitlines()[-1]

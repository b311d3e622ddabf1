"""embedding.py: equal shards, parts that outlast a stop or other shards, and the same files whoever makes them."""

import itertools
import os
import signal

import numpy as np
import pytest
from pyarrow import parquet
from small_corpus import make_word_corpus
from tiny_encoder import make_tiny_encoder

import Apply_Tuned_Model as apply
import corpus
import embedding
import lock
from encoder import Encoder

PART = 24  # passages: two documents, so that each of the six decades has two parts


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(embedding, "PART", PART)


@pytest.fixture
def embedded(monkeypatch) -> list[int]:
    """Return a list that grows by the number of passages of each call of the encoder."""
    counts, encode = [], Encoder.encode

    def counted(self, texts, progress):
        counts.append(len(texts))
        return encode(self, texts, progress)

    monkeypatch.setattr(Encoder, "encode", counted)
    return counts


@pytest.fixture
def run(word_corpus, tiny_encoder, tmp_path):
    """Return a function that applies an encoder to the word corpus and gives back the exit status."""

    def run(folder, *flags, model=tiny_encoder):
        base = ["-m", str(model), "-o", str(tmp_path / folder), "--device", "cpu", "--precision", "fp32"]
        return apply.main([*base, *word_corpus.flags, *flags])

    return run


@pytest.fixture(scope="module")
def plain(tiny_encoder, tmp_path_factory) -> dict[str, bytes]:
    """Return the files of a run on the whole corpus that nothing disturbed."""
    words, folder = make_word_corpus(tmp_path_factory.mktemp("words") / "words"), tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as small:
        small.setattr(embedding, "PART", PART)
        base = ["-m", str(tiny_encoder), "-o", str(folder), "--device", "cpu", "--precision", "fp32"]
        assert apply.main([*base, *words.flags]) == 0
    return products(folder)


def shards(run, folder, count, *flags, order=None):
    for number in order or range(1, count + 1):
        assert run(folder, "--shard", f"{number}/{count}", *flags) == 0


def products(folder) -> dict[str, bytes]:
    """Return all files of a folder but the manifest, which tells time and command."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def parts_in(folder) -> list[str]:
    return sorted(path.name for path in (folder / "decades").glob("*-*.parquet"))


# ---------------------------------------------------------------- cutting


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 40])
def test_shards_are_equal_in_passages_and_together_are_all_parts_once(corpus_folder, count):
    for i in range(60):  # of very different lengths and decades
        corpus_folder.add(f"d{i}", 1900 + i * i // 60, 1 + i * 7 % 20)
    documents, _ = corpus.read_metadata(corpus_folder.metadata)
    chunks = corpus.ChunkFolder(corpus_folder.chunks)
    parts = embedding.cut(corpus.by_decade(documents), chunks)
    assert [document for part in parts for document in part.documents] == documents
    assert all(part.passages <= PART and {d.year // 10 * 10 for d in part.documents} == {part.decade} for part in parts)
    for one, next_ in itertools.pairwise(parts):  # none is smaller than it has to be
        assert one.decade != next_.decade or one.passages + chunks.lines(next_.documents[0]) > PART
    found = [embedding.shard_of(parts, number, count) for number in range(1, count + 1)]
    assert list(itertools.chain(*found)) == parts
    equal = sum(part.passages for part in parts) / count
    assert all(abs(sum(part.passages for part in shard) - equal) <= PART for shard in found)


def test_one_document_larger_than_a_part_is_a_part(corpus_folder):
    corpus_folder.add("a", 1900, 3).add("large", 1901, PART + 1).add("b", 1902, 3).add("c", 1903, 3).add("d", 1910, 0)
    documents, _ = corpus.read_metadata(corpus_folder.metadata)
    parts = embedding.cut(corpus.by_decade(documents), corpus.ChunkFolder(corpus_folder.chunks))
    assert [part.passages for part in parts] == [3, PART + 1, 6, 0]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_files_of_all_systems_are_cut(tmp_path, ending):
    """Lines that end as on an old Mac; an accent that the disk writes otherwise than the metadata."""
    (tmp_path / "e\u0301.txt").write_bytes(f"0\ta{ending}1\tb{ending}2\tc".encode())
    documents = [corpus.Document(f"d{i}", 1900, "\u00e9.txt") for i in range(20)]
    parts = embedding.cut({1900: documents}, corpus.ChunkFolder(tmp_path))
    assert [part.passages for part in parts] == [24, 24, 12]


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "a/b", "-1/4", "1/4/2"])
def test_a_shard_that_cannot_be_is_refused(run, capsys, text):
    with pytest.raises(SystemExit):
        run("e", f"--shard={text}")
    assert f"'{text}' is not K/N, where K is from 1 to N" in capsys.readouterr().err


# ---------------------------------------------------------------- the same files


@pytest.mark.slow
def test_shards_make_the_files_of_a_plain_run_byte_for_byte(run, word_corpus, tmp_path):
    (word_corpus.chunks / "doc05.txt").unlink()
    (word_corpus.chunks / "doc06.txt").write_text("0\tw1 w2\n1\t \n3\tw3\n")
    assert run("plain") == 0
    plain = products(tmp_path / "plain")
    shards(run, "three", 3)
    shards(run, "five", 5, order=(4, 1, 5, 3, 2))
    assert products(tmp_path / "three") == products(tmp_path / "five") == plain
    assert plain.keys() == {name for d in range(1900, 1960, 10) for name in (f"{d}.parquet", f"decades/{d}.json")}
    of_plain, of_three = (corpus.read_manifest(tmp_path / name) for name in ("plain", "three"))
    for name in ("decades", "passages", "documents", "oddities", "dimensions"):
        assert of_plain[name] == of_three[name]
    assert of_plain["oddities"]["documents_without_file"] == of_plain["oddities"]["blank_passages_skipped"] == 1


@pytest.mark.slow
def test_parts_change_neither_rows_nor_format_nor_what_is_counted(run, monkeypatch, tmp_path):
    for kind in corpus.EMBEDDING_FORMATS:
        flags = ("--format", kind, "--max-seq-length", "16", "--dtype", "float16")
        assert run(f"parts {kind}", *flags) == 0
        with monkeypatch.context() as whole:
            whole.setattr(embedding, "PART", 1000)
            assert run(f"whole {kind}", *flags) == 0
        for decade in (1900, 1950):
            one, other = (tmp_path / f"{how} {kind}" / f"{decade}.{kind}" for how in ("parts", "whole"))
            ids, numbers, vectors = corpus.read_embeddings(one)
            for got, expected in zip((ids, numbers.tolist()), corpus.read_embeddings(other)):
                assert got == list(expected)
            np.testing.assert_allclose(vectors, corpus.read_embeddings(other)[2], atol=1e-3)
            if kind == "parquet":
                assert parquet.read_schema(one) == parquet.read_schema(other)
                assert parquet.ParquetFile(one).metadata.row_group(0).num_rows == PART
            else:
                assert one.read_text().split("\n")[0] == other.read_text().split("\n")[0]
        manifests = [corpus.read_manifest(tmp_path / f"{how} {kind}") for how in ("parts", "whole")]
        assert manifests[0]["passages_at_the_limit"] == manifests[1]["passages_at_the_limit"]
        changing = ("bytes", "sha256")
        records = [[{k: v for k, v in r.items() if k not in changing} for r in m["decades"]] for m in manifests]
        assert records[0] == records[1]


# ---------------------------------------------------------------- stopped


def stop_after(monkeypatch, parts, number):
    """Have a signal sent to this process when it is about to embed one part more than so many."""
    calls, encode = [], Encoder.encode

    def stopped(self, texts, progress):
        calls.append(len(texts))
        if len(calls) > parts:
            os.kill(os.getpid(), number)
        return encode(self, texts, progress)

    monkeypatch.setattr(Encoder, "encode", stopped)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR1, 138), (signal.SIGTERM, 143)])
def test_a_stopped_run_goes_on_within_a_decade_whatever_the_shards(
    run, plain, monkeypatch, embedded, tmp_path, number, status, capsys
):
    with monkeypatch.context() as stopping:
        stop_after(stopping, 3, number)  # both parts of the first decade, one of the second
        assert run("e") == status and "run the same command again" in capsys.readouterr().err
    folder = tmp_path / "e"
    assert not (folder / ".lock").exists() and signal.getsignal(number) == signal.SIG_DFL
    assert [path.name for path in folder.glob("*.parquet")] == ["1900.parquet"] and len(parts_in(folder)) == 1
    assert embedded == [PART] * 3
    shards(run, "e", 5)
    assert embedded == [PART] * 12 and parts_in(folder) == []  # each passage once, never more than a part
    assert products(folder) == plain


def test_shards_that_change_between_two_stops_reuse_all_parts(run, plain, word_corpus, embedded, tmp_path):
    broken = word_corpus.chunks / "doc09.txt"
    text = broken.read_text()
    broken.write_text("no tab\n")
    assert run("e", "--shard", "2/4") == 2 and run("e", "--shard", "2/2") == 0
    assert sum(embedded) == 3 * 48 + PART  # of the second quarter, the first decade's half
    broken.write_text(text)
    assert run("e", "--shard", "1/7") == 0 and run("e") == 0
    assert sum(embedded) == 288
    assert products(tmp_path / "e") == plain


@pytest.mark.slow
def test_a_part_of_another_model_of_other_texts_or_cut_off_is_never_used(
    run, word_corpus, embedded, tmp_path, monkeypatch
):
    folder, other = tmp_path / "e", make_tiny_encoder(tmp_path / "other", seed=1)
    with monkeypatch.context() as stopping:
        stop_after(stopping, 1, signal.SIGTERM)
        assert run("e") == 143
    (stale,) = parts_in(folder)
    with monkeypatch.context() as stopping:
        stop_after(stopping, 1, signal.SIGTERM)
        assert run("e", model=other) == 143
    assert len(parts_in(folder)) == 2 and stale in parts_in(folder)
    kept = folder / "decades" / next(name for name in parts_in(folder) if name != stale)
    kept.write_bytes(kept.read_bytes()[:-1])  # a disk that lost the end
    (word_corpus.chunks / "doc02.txt").write_text("0\tw1 w2 w3\n")
    assert run("e", model=other) == 0 and sum(embedded) == 24 + 24 + 24 * 12 - 11 and parts_in(folder) == []
    assert run("plain", model=other) == 0
    assert products(folder) == products(tmp_path / "plain")


def test_a_decade_whose_texts_change_is_made_again_alone_and_stands_until_then(run, word_corpus, embedded, tmp_path):
    assert run("e") == 0
    before, folder = products(tmp_path / "e"), tmp_path / "e"
    (word_corpus.chunks / "doc05.txt").write_text("0\tw1 w2 w3\n")
    embedded.clear()
    shards(run, "e", 12, order=(3,))
    assert products(folder).items() >= before.items() and (folder / "manifest.json").exists()
    shards(run, "e", 12, order=(1, 4))
    assert sum(embedded) == 37 and corpus.read_manifest(folder)["passages"] == 288 - 11
    changed = {name for name, data in products(folder).items() if before.get(name) != data}
    assert changed == {"1910.parquet", "decades/1910.json"}


# ---------------------------------------------------------------- several at once


def test_a_decade_that_another_task_puts_together_is_left_to_it(run, tmp_path, caplog):
    folder = tmp_path / "e"
    with lock.alone_in(folder, "2-of-2"), lock.holding(folder / f"{lock.LOCK}-1900"):
        assert run("e", "--shard", "1/2") == 0 and "e is in use by process" in caplog.text
    assert not (folder / "1900.parquet").exists() and (folder / "1910.parquet").exists()
    shards(run, "e", 2)
    assert corpus.read_manifest(folder)["passages"] == 288 and parts_in(folder) == []


def test_a_decade_that_was_put_together_meanwhile_is_not_made_twice(run, plain, monkeypatch, tmp_path):
    """One task looks for all parts, finds them, and takes the lock after another task has done the work."""
    folder, hold, embeddings = tmp_path / "e", lock.holding_if_free, []
    shards(run, "e", 12, order=(1,))
    before = products(folder)

    def late(path):
        if not embeddings:
            embeddings.append(path)
            assert run("e", "--shard", "2/3") == run("e", "--shard", "3/3") == run("e", "--shard", "1/3") == 0
        return hold(path)

    monkeypatch.setattr(lock, "holding_if_free", late)
    assert run("e", "--shard", "2/12") == 0 and before
    assert corpus.read_manifest(folder)["passages"] == 288 and parts_in(folder) == []
    assert products(folder) == plain

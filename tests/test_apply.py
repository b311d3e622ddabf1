"""Apply_Tuned_Model.py with a tiny real encoder: one decade in, one file out, none twice, none half."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import Apply_Tuned_Model as apply
import corpus
import lock
import script

ROOT = Path(__file__).resolve().parents[1]


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


def test_passages_that_fill_the_model_are_counted(run, caplog):
    _, folder = run("--max-seq-length", "16")  # of 40 words
    assert json.loads((folder / "manifest.json").read_text())["passages_at_the_limit"] == 24 * 12
    assert "288 passages fill all 16 tokens" in caplog.text
    _, folder = run()
    assert json.loads((folder / "manifest.json").read_text())["passages_at_the_limit"] == 0


def test_held_out_documents_alone(run, tmp_path, capsys):
    script.write_json(tmp_path / "training.json", {"held_out_documents": ["doc02", "doc21", "elsewhere"]})
    status, folder = run("--held-out-of", str(tmp_path / "training.json"))
    assert status == 0 and json.loads((folder / "manifest.json").read_text())["documents"] == 2
    script.write_json(tmp_path / "training.json", {"held_out_documents": []})
    assert run("--held-out-of", str(tmp_path / "training.json"))[0] == 2
    assert "names no document of the metadata as held out" in capsys.readouterr().err


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


def test_decades_of_another_definition_are_made_again_and_none_in_vain(run, monkeypatch, capsys):
    """A record of an older version says nothing of its definition: the first."""
    _, folder = run()
    for path in (folder / "decades").glob("*.json"):
        record = script.read_json(path)
        assert record.pop("definition") == 1
        script.write_json(path, record)
    before = files(folder)
    assert run()[0] == 0 and run("-s", "1920")[0] == 0 and files(folder) == before
    monkeypatch.setattr(corpus, "DEFINITION", 2)
    assert run("-s", "1920")[0] == 2 and files(folder) == before
    assert "holds the 1900s made with another definition" in capsys.readouterr().err
    assert run()[0] == 0 and not set(before.values()) & set(files(folder).values())
    assert {record["definition"] for record in script.read_json(folder / "manifest.json")["decades"]} == {2}


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


def test_another_model_for_some_years_is_refused(run, tmp_path, capsys):
    from tiny_encoder import make_tiny_encoder

    _, folder = run()
    before = files(folder)
    other = make_tiny_encoder(tmp_path / "other", seed=1)
    assert run("-s", "1920", model=other)[0] == 2
    assert "holds the 1900s made with another model_sha256" in capsys.readouterr().err
    assert files(folder) == before and (folder / "manifest.json").exists()


def test_a_stop_while_another_model_replaces_the_decades_leaves_no_manifest(run, word_corpus, tmp_path):
    from tiny_encoder import make_tiny_encoder

    _, folder = run()
    (word_corpus.chunks / "doc09.txt").write_text("no tab\n")
    assert run(model=make_tiny_encoder(tmp_path / "other", seed=1))[0] == 2
    assert not (folder / "manifest.json").exists()


def test_a_trial_never_takes_the_place_of_whole_decades(run, capsys):
    _, folder = run()
    before = files(folder)
    assert run("--limit", "5")[0] == 2 and files(folder) == before
    assert "give a trial with --limit an -o of its own" in capsys.readouterr().err


def every_file(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("flags", [("-r", "EMPTY"), ("-r", "EMPTY", "--shard", "1/2"), ("-m", "no/such-model")])
def test_what_is_refused_touches_nothing_that_is_finished(run, tmp_path, capsys, flags):
    """An unmounted disk, a folder of another corpus, a slip in the model's name."""
    (tmp_path / "EMPTY").mkdir()
    _, folder = run()
    before = every_file(folder)
    assert run(*(str(tmp_path / word) if word == "EMPTY" else word for word in flags))[0] == 2
    assert every_file(folder) == before
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        "no chunk file has a passage of the 19" in said and "check -r" in said
    ) or "no/such-model can't be loaded" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_touches_nothing_that_is_finished(run, word_corpus):
    _, folder = run()
    (word_corpus.chunks / "doc05.txt").write_text("0\tw1 w2 w3\n")
    before = every_file(folder)
    assert run("--device", "cuda")[0] == 2 and every_file(folder) == before


def test_vectors_that_are_no_numbers_are_not_written(run, tiny_encoder, tmp_path, capsys):
    from sentence_transformers import SentenceTransformer

    _, folder = run()
    before = every_file(folder)
    broken = SentenceTransformer(str(tiny_encoder), device="cpu")
    with torch.no_grad():
        broken[0].model.embeddings.word_embeddings.weight[5:] = torch.nan
    broken.save_pretrained(str(tmp_path / "broken"), create_model_card=False)
    assert run(model=tmp_path / "broken")[0] == 2 and every_file(folder) == before
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the 1900s are not written" in said and "first being passage 0 of doc00" in said
    assert "run again with --precision fp32" in said


def test_one_empty_decade_is_not_put_in_place_of_a_full_one(run, word_corpus, capsys):
    """What lies on another disk than the rest, or was moved away by mistake."""
    _, folder = run()
    for name in ("doc04", "doc05", "doc06", "doc07"):
        (word_corpus.chunks / f"{name}.txt").unlink()
    before = every_file(folder)
    assert run()[0] == 2 and every_file(folder) == before
    assert (
        "no chunk file has a passage of the 1910s" in (said := capsys.readouterr().err)
        and "1910.parquet holds 48: check -r" in said
    )
    (folder / "decades/1910.json").unlink()  # as the sentence says
    assert run()[0] == 0 and json.loads((folder / "manifest.json").read_text())["passages"] == 5 * 48


def test_held_out_documents_never_take_the_place_of_whole_decades(run, tmp_path, capsys):
    script.write_json(tmp_path / "training.json", {"held_out_documents": ["doc02", "doc21"]})
    held_out = ("--held-out-of", str(tmp_path / "training.json"))
    _, folder = run()
    before = every_file(folder)
    assert run(*held_out)[0] == 2 and every_file(folder) == before
    assert "give a trial with --held-out-of an -o of its own" in capsys.readouterr().err


def test_the_held_out_documents_of_another_training_are_embedded_anew(run, tmp_path):
    held_out = ("--held-out-of", str(tmp_path / "training.json"))
    script.write_json(tmp_path / "training.json", {"held_out_documents": ["doc02", "doc21"]})
    _, folder = run(*held_out)
    before = every_file(folder)
    script.write_json(tmp_path / "training.json", {"held_out_documents": ["doc21", "doc02"], "seed": 1})
    assert run(*held_out)[0] == 0 and every_file(folder)[folder / "1900.parquet"] == before[folder / "1900.parquet"]
    script.write_json(tmp_path / "training.json", {"held_out_documents": ["doc01", "doc22"]})
    assert run(*held_out)[0] == 0 and corpus.read_embeddings(folder / "1900.parquet")[0] == ["doc01"] * 12


def test_decades_that_left_the_metadata_leave_the_manifest(run, word_corpus, caplog):
    run()
    word_corpus.rows = [row for row in word_corpus.rows if not row[1].startswith("195")]
    word_corpus.write()
    status, folder = run()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert status == 0 and [record["decade"] for record in manifest["decades"]] == list(range(1900, 1950, 10))
    assert "no document of the 1950s any more" in caplog.text


def test_decades_of_other_years_leave_the_manifest_where_only_these_years_are_wanted(run, caplog, tmp_path):
    _, folder = run()
    before = files(folder)
    listed = lambda: [record["decade"] for record in script.read_json(folder / "manifest.json")["decades"]]  # noqa: E731
    assert run("-s", "1920")[0] == 0 and listed() == list(range(1900, 1960, 10))
    assert run("-s", "1920", "--only-these-years")[0] == 0 and listed() == list(range(1920, 1960, 10))
    assert "nobody asks for the 1900s any more" in caplog.text
    assert list(corpus.find_decades(folder)) == listed()
    assert run("--only-these-years")[0] == 0 and listed() == list(range(1900, 1960, 10)) and files(folder) == before


def test_a_manifest_that_says_it_all_already_gets_only_a_new_time(run):
    _, folder = run()
    manifest = folder / "manifest.json"
    before, text = manifest.stat().st_mtime_ns, manifest.read_text()
    assert run()[0] == 0 and manifest.read_text() == text and manifest.stat().st_mtime_ns > before


def test_a_damaged_file_is_made_again_and_another_format_replaces_the_first(run):
    _, folder = run("-e", "1910")
    (folder / "1900.parquet").write_bytes(b"cut off")
    run("-e", "1910")
    assert len(corpus.read_embeddings(folder / "1900.parquet")[0]) == 48
    run("-e", "1910", "--format", "tsv")
    assert [path.name for path in folder.glob("1900.*")] == ["1900.tsv"]


@pytest.mark.slow
def test_tasks_for_single_decades_share_a_folder_and_its_manifest(run):
    for year in range(1900, 1960, 10):
        status, folder = run("-s", str(year), "-e", str(year + 10))
        assert status == 0
    assert len(json.loads((folder / "manifest.json").read_text())["decades"]) == 6


def test_an_array_of_shards_is_whole_with_its_last_task(run, word_corpus, caplog):
    (word_corpus.chunks / "doc05.txt").unlink()
    for number in range(6, 0, -1):
        status, folder = run("-s", "1890", "-e", "1955", "--shard", f"{number}/6")
        assert status == 0 and (folder / "manifest.json").exists() == (number == 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [record["decade"] for record in manifest["decades"]] == list(range(1900, 1960, 10))
    assert manifest["oddities"]["documents_without_file"] == 1
    before = files(folder)
    assert run("--shard", "4/1000", "-e", "1955")[0] == 0 and "manifest.json is there already" in caplog.text
    assert files(folder) == before and (folder / "manifest.json").exists()


@pytest.mark.slow
def test_no_task_of_an_array_calls_a_folder_whole_that_is_not(run, word_corpus, monkeypatch):
    for number in range(1, 7):
        _, folder = run("--shard", f"{number}/6")
    manifest = folder / "manifest.json"
    for name in ("doc05.txt", "doc21.txt"):  # of the 1910s and the 1950s
        (word_corpus.chunks / name).write_text("0\tw1 w2 w3\n")
    for number in (2, 3):
        assert run("--shard", f"{number}/6")[0] == 0 and not manifest.exists()
    assert run("--shard", "6/6")[0] == 0 and manifest.exists()
    written = manifest.stat().st_mtime_ns
    assert [record["passages"] for record in json.loads(manifest.read_text())["decades"]] == [48, 37, 48, 48, 48, 37]
    assert run("--shard", "3/6")[0] == 0 and manifest.stat().st_mtime_ns == written


@pytest.mark.parametrize("reading", range(1, 6))
def test_a_record_may_vanish_while_it_is_read(run, monkeypatch, reading):
    """Another task of the array takes a decade's record away before it puts the decade together again."""
    _, folder = run()
    record, manifest, read = folder / "decades/1950.json", folder / "manifest.json", script.read_json
    manifest.unlink()
    readings = []

    def read_too_late(path):
        readings.append(path)
        if path == record and readings.count(record) == reading:
            record.unlink()
        return read(path)

    monkeypatch.setattr(corpus, "read_json", read_too_late)
    assert run("--shard", "3/6")[0] == 0
    assert record.exists() or not manifest.exists()


def test_two_runs_in_one_folder_are_refused_and_tasks_of_an_array_are_not(run, tmp_path, capsys):
    folder = tmp_path / "embeddings"
    with lock.alone_in(folder):
        assert run()[0] == 2 and "embeddings is in use by process" in capsys.readouterr().err
        assert run("--shard", "2/6")[0] == 2 and [path.name for path in folder.iterdir()] == [".lock"]
        assert run("--check")[0] == 0
    with lock.alone_in(folder, "1-of-6"):
        assert run()[0] == 2 and run("--shard", "1/6")[0] == 2
        assert run("--shard", "2/6")[0] == 0
        assert files(folder).keys() == {"1910.parquet"}


def test_a_termination_between_decades_gives_the_folder_back(word_corpus, tiny_encoder, tmp_path):
    folder = tmp_path / "embeddings"
    command = ["Apply_Tuned_Model.py", "-m", str(tiny_encoder), "-o", str(folder), "--device", "cpu"]
    running = subprocess.Popen([sys.executable, *command, *word_corpus.flags], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not (folder / ".lock").exists():
        assert running.poll() is None
        time.sleep(0.002)
    running.terminate()
    assert running.wait() == 143 and not (folder / ".lock").exists()


def test_the_manifest_tells_each_files_digest(run):
    _, folder = run()
    for record in json.loads((folder / "manifest.json").read_text())["decades"]:
        data = (folder / record["file"]).read_bytes()
        assert (record["bytes"], record["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["-s", "2000"], "has no document of the years asked for"),
        (["-m", "no/model"], "-m no/model can't be loaded"),
        (["--max-seq-length", "4096"], "this model has positions for 128 tokens at most"),
    ],
)
def test_bad_input_is_one_sentence(run, capsys, flags, complaint):
    assert run(*flags)[0] == 2
    assert complaint in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_bar_knows_the_total_and_leaves_out_what_is_there_already(run, word_corpus, capsys):
    _, folder = run()
    said = capsys.readouterr().err
    assert "288/288" in said and "decade 1950" in said and "1950s]" not in said
    (folder / "decades/1910.json").unlink()
    run()
    assert "48/48" in capsys.readouterr().err

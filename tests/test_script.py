"""How scripts read and write files: what is no file, what a killed run left, a full disk, cells for spreadsheets."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from openai_server import shorten

import calc_precocity_for_embeddings as precocity
import corpus
import report_precocity
import script
import select_training_pairs_final as final
import select_training_pairs_no_paraphrase as no_paraphrase
import synthetic_data_generator as generator
from script import InputError

ROOT = Path(__file__).resolve().parents[1]

# ---- what a message shows


def run_script(words, folder=ROOT):
    """Run a door in a process of its own, as a user would; return it with what it said, as bytes."""
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, timeout=60)


def test_no_message_prints_what_would_steer_the_terminal(tmp_path, corpus_folder):
    corpus_folder.add("a", 1900, 4)
    corpus_folder.metadata.write_text("paperId\tyear\na\t1900\nb\x1b[2K\u202e\t1901\nc\xa0\t1902\n")
    base = ["select_training_pairs_final.py", "5", *corpus_folder.flags, "-o", str(tmp_path / "p.tsv")]
    logged = run_script(base).stderr
    assert b"without a chunk file, skipped: b\\x1b[2K\\u202e, c\\xa0" in logged
    corpus_folder.metadata.write_text("id\x07\tdate\x85\n")
    assert b"no column 'paperId' among id\\x07, date\\x85;" in (refused := run_script(base).stderr)
    assert b"unrecognized arguments: --\\x1b[31m" in (unknown := run_script([*base, "--\x1b[31m"]).stderr)
    missing = run_script([*base, "-t", "no\rwhere"]).stderr
    assert b"no\\rwhere: No such file" in missing
    assert not set(logged + refused + missing + unknown) & (set(range(32)) - {10} | {127})


def test_a_message_keeps_letters_and_punctuation_of_all_scripts():
    text = "“Gödel” – 論語, на, ﷲ, 😀 ½…"
    assert script.printable(text) == text


def test_an_argument_that_is_not_utf8_is_refused_before_any_work(tmp_path, corpus_folder):
    corpus_folder.add("a", 1900, 9)
    (old := tmp_path / os.fsdecode(b"f\xfcr")).mkdir()
    output = old / "p.tsv"
    done = run_script(["select_training_pairs_final.py", "5", *corpus_folder.flags, "-o", output])
    assert done.returncode == 2 and b"f\\udcfcr/p.tsv is not valid UTF-8; rename it" in done.stderr
    assert b"Traceback" not in done.stderr and not list(old.iterdir())


def test_in_a_folder_whose_name_is_not_utf8_relative_paths_work(tmp_path, corpus_folder):
    corpus_folder.add("a", 1900, 9).add("b", 1901, 9)
    old = corpus_folder.folder.rename(tmp_path / os.fsdecode(b"f\xfcr"))
    words = ["5", "-t", "metadata.tsv", "-r", "chunks", "-o", "p.tsv", "--level-quantile", "1"]
    done = run_script([ROOT / "select_training_pairs_final.py", *words], folder=old)
    assert done.returncode == 0, done.stderr
    assert script.read_json(old / "p.tsv.json")["counts"]["documents"]


# ---- what is no file


@pytest.fixture
def impatient():
    """End a test that waits for a pipe."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("waits for a pipe"))
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


INPUTS = {  # door, flag of the pipe
    "metadata": (final, "-t"),
    "metadata of precocity": (precocity, "-m"),
    "metadata of the report": (report_precocity, "-t"),
    "table of the report": (report_precocity, None),
    "pairs to match": (no_paraphrase, "--match"),
    "pairs to paraphrase": (generator, "-d"),
    "prompts": (generator, "--prompts"),
    "documents left out": (precocity, "-a"),
    "passages left out": (precocity, "-c"),
    "training pairs": (precocity, "--train-pairs"),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_where_a_file_is_expected_gets_one_sentence(tmp_path, corpus_folder, impatient, capsys, name, linked):
    door, flag = INPUTS[name]
    table, pairs, fifo = tmp_path / "1900s_docs.tsv", tmp_path / "pairs.tsv", pipe(tmp_path / "pipe")
    corpus_folder.add("a", 1900, 4)
    corpus.write_embeddings(tmp_path / "e" / "1900.parquet", ["a"], [0], one_vector())
    table.write_text("docid\n")
    corpus.write_pairs(pairs, [dict(zip(corpus.PAIR_COLUMNS, ("a", 1900, "x", "generate", "single-synthetic")))])
    if linked:
        (tmp_path / "link").symlink_to(fifo)
        fifo = tmp_path / "link"
    metadata, output = str(corpus_folder.metadata), str(tmp_path / "out")
    script.write_json(tmp_path / "manifest.json", {"table": (table if flag else fifo).name})
    command = {
        final: ["5", *corpus_folder.flags, "-o", output],
        no_paraphrase: [*corpus_folder.flags, "-o", output],
        generator: ["-d", str(pairs), "-o", output, "--base-url", "http://127.0.0.1:9", "--dry-run"],
        precocity: ["-m", metadata, "-d", str(tmp_path / "e"), "-o", output],
        report_precocity: ["-t", metadata, "-o", output],
    }[door]
    if door is report_precocity:
        command.append(str(fifo if flag is None else table))
    if flag:
        command += [flag, str(fifo)]
    assert door.main(command) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith(f"{fifo} is a pipe, not a file; give the path of a regular file.")
    )


def one_vector():
    return np.ones((1, 2), np.float32)


def test_pipes_inside_folders_and_among_records_are_named_too(tmp_path, impatient):
    (tmp_path / "chunks").mkdir()
    readers = {
        pipe(tmp_path / "chunks" / "a.txt"): lambda path: corpus.ChunkFolder(path.parent).passages(
            corpus.Document("a", 1900, "a.txt")
        ),
        pipe(tmp_path / "1900.parquet"): corpus.read_embeddings,
        pipe(tmp_path / "1900.tsv"): corpus.read_embeddings,
        pipe(tmp_path / "training.json"): script.read_json,
        pipe(tmp_path / "journal.jsonl"): lambda path: generator.Journal(path, "m"),
    }
    for path, read in readers.items():
        with pytest.raises(InputError, match=f"{path} is a pipe"):
            read(path)


@pytest.mark.parametrize(("path", "kind"), [("/dev/null", "a device"), ("/", "a folder")])
def test_devices_and_folders_are_no_files_and_nothing_replaces_them(path, kind):
    with pytest.raises(InputError, match=f"{path} is {kind}, not a file"):
        script.regular_file(path)
    with pytest.raises(InputError, match=f"{path} is {kind}, not a file"), script.replacing(path):
        pass


def test_what_is_not_there_stays_a_missing_file(tmp_path):
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name in ("nowhere", "broken"):
        with pytest.raises(FileNotFoundError):
            script.regular_file(tmp_path / name)


# ---- a full disk


def partial(path):
    """Return the temporary name under which this process writes a file."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")


def fill(path):
    """Let what this process writes to a file go to a full disk: the kernel's own device."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial(path).symlink_to("/dev/full")
    return path


def write_array(path):
    with script.replacing(path) as beside, open(beside, "wb") as handle:
        np.save(handle, np.ones(100_000))


def write_values(path):
    from pyarrow import parquet, table

    with script.replacing(path) as beside:
        parquet.write_table(table({"a": np.random.default_rng(0).normal(size=100_000)}), beside)


def write_picture(path):
    import matplotlib.pyplot as plt

    from report import drawing

    drawing.save(plt.figure(), path, "", "")


WRITERS = {
    "lines": lambda path: script.write_lines(path, ["line\n"]),
    "record": lambda path: script.write_json(path, {}),
    "pairs": lambda path: corpus.write_pairs(path, []),
    "array": write_array,
    "values": write_values,
    "picture": write_picture,
    "decade.parquet": lambda path: corpus.write_embeddings(path, ["a"], [0], one_vector()),
    "decade.tsv": lambda path: corpus.write_embeddings(path, ["a"], [0], one_vector()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_with_the_file_and_the_old_file_stays(tmp_path, capsys, name):
    path = tmp_path / name
    path.write_text("old")
    fill(path)

    @script.command
    def main(argv):
        WRITERS[name](path)

    assert main([]) == 2
    told = capsys.readouterr().err
    assert told.endswith(f"{path}: No space left on device; make room there and run the same command again.\n")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_stops_a_script_with_one_sentence(tmp_path, corpus_folder, capsys):
    corpus_folder.add("a", 1900, 9)
    pairs = fill(tmp_path / "out" / "pairs.tsv")
    assert final.main(["5", *corpus_folder.flags, "-o", str(pairs)]) == 2
    assert f"{pairs}: No space left on device; make room there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EDQUOT, "larger quota"), (errno.EROFS, "another place"), (errno.EACCES, "check the path")],
)
def test_other_faults_of_a_disk_have_their_own_remedy(number, remedy):
    sentence = script.sentence_of(OSError(number, os.strerror(number), "table.tsv"))
    assert sentence.startswith(f"table.tsv: {os.strerror(number)}; ") and remedy in sentence


def test_a_read_only_disk_is_named_with_the_file(tmp_path, corpus_folder, capsys):
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "x", tmp_path]).returncode:
        pytest.skip("needs root to mount a small file system")
    try:
        pairs = tmp_path / "pairs.tsv"

        @script.command
        def main(argv):
            script.write_lines(pairs, [])

        assert main([]) == 2
        assert f"{pairs}: Read-only file system; choose another place for it." in capsys.readouterr().err
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# ---- what a killed run left

KILLED = """
import os, signal, sys
import script
with script.replacing(sys.argv[1]) as beside:
    beside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_removed_by_the_next_that_writes_the_file(tmp_path):
    path, other = tmp_path / "pairs[1].tsv", tmp_path / "pairs[1].tsv.json"
    for target in (path, other):
        subprocess.run([sys.executable, "-c", KILLED, target], cwd=ROOT)
    assert len(list(tmp_path.iterdir())) == 2
    script.write_lines(path, ["whole\n"])
    left = {name for name in os.listdir(tmp_path) if name != path.name}
    assert path.read_text() == "whole\n" and all(name.startswith(f".{other.name}.") for name in left) and len(left) == 1
    script.write_lines(other, [])
    assert sorted(tmp_path.iterdir()) == [path, other]


def test_what_others_are_writing_stays(tmp_path):
    living, ended = subprocess.Popen(["sleep", "60"]), subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # a zombie, as nobody has asked for its status
    try:
        here, yesterday = socket.gethostname(), time.time() - 2 * script.DAY
        names = {  # stays?
            f".t.tsv.{here}-{living.pid}.partial": True,
            f".t.tsv.{here}-{ended.pid}.partial": False,
            f".t.tsv.{here}-1.partial": True,  # not ours to ask
            ".t.tsv.node-7-123.partial": True,
            ".t.tsv.node-8-123.partial": False,
            ".u.tsv.node-8-123.partial": True,
            ".t.tsv.mine.partial": True,
            ".t.tsv.my-own.partial": True,
        }
        for name in names:
            (tmp_path / name).write_text("half")
            if "node-7" not in name:
                os.utime(tmp_path / name, (yesterday, yesterday))
        script.write_lines(tmp_path / "t.tsv", [])
    finally:
        living.kill()
        living.wait()
        ended.wait()
    assert set(os.listdir(tmp_path)) == {name for name, stays in names.items() if stays} | {"t.tsv"}


# ---- tables for people


@pytest.mark.parametrize("text", ['=HYPERLINK("x")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", " =1", '"=1+1', "＝1"])
def test_a_spreadsheet_runs_no_cell(text):
    assert script.spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-44, -0.5, "-44", "+1850", "-1.5e-05", "10.2307_408", "", "a = b", "—dash", "1-2"])
def test_numbers_and_other_texts_stay(value):
    assert script.spreadsheet_cell(value) == value


def test_rejects_are_a_table_for_people_and_paraphrases_are_not(tmp_path, server):
    rows = [(name, 1900, f"={name} {'word ' * 40}", "generate", "single-synthetic") for name in ("=1+1", "good")]
    pairs, output = tmp_path / "pairs.tsv", tmp_path / "out.tsv"
    corpus.write_pairs(pairs, [dict(zip(corpus.PAIR_COLUMNS, row)) for row in rows])
    command = ["-d", str(pairs), "-o", str(output), "--base-url", server.url, "--model", "m", "--tries", "1"]
    server.reply = lambda request: shorten(request) if "good" in str(request) else "Sure! Here it is."
    assert generator.main(command) == 1
    assert (tmp_path / "out.tsv.rejects.tsv").read_text().splitlines()[1].startswith("1\t'=1+1\tsingle-synthetic\t")
    assert generator.main([*command, "--accept-rejects", "keep-original"]) == 0
    assert corpus.read_pairs(output)[0]["paperId"] == "=1+1" and corpus.read_pairs(output)[0]["anchor"][0] == "="

"""What is sent, what was edited, taken over: cluster/send.py and fetch.py on what rsync and sha256sum printed."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import script
from cluster import fetch, send
from cluster.place import BEGIN, Answer, Place, for_any_shell
from script import InputError

ITEMIZED = """.d..t...... ./
<f+++++++++ paraphrased/para20.tsv
<f.st...... my own.tsv
<fcs....... pairs/nopara.tsv
.f..t...... only its time.tsv
cd+++++++++ pairs/
"""


def test_files_that_differ_are_read_from_rsyncs_list():
    files = ["paraphrased/para20.tsv", "my own.tsv", "pairs/nopara.tsv"]
    assert send.changed_files(ITEMIZED.splitlines()) == files
    assert send.changed_files([]) == []


def test_rsyncs_own_list_names_them_so(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same").write_text("a")
    (tmp_path / "here/new one").write_text("a")
    words = ["rsync", "-rlt", "-n", "-i", "--checksum", f"{tmp_path}/here/", f"{tmp_path}/there/"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    # Between two folders of one machine rsync receives; to another machine it sends: <
    assert send.changed_files(said.replace(">f", "<f").splitlines()) == ["new one"]


def test_a_table_paraphrased_from_other_pairs_is_neither_sent_nor_trained_on(tmp_path):
    """As after a new SEED: make pairs has made them anew, and nobody has paraphrased them."""
    for folder in ("pairs", "paraphrased"):
        (tmp_path / folder).mkdir()
    pairs, table = tmp_path / "pairs/para10.tsv", tmp_path / "paraphrased/para10.tsv"
    pairs.write_text("new pairs")
    table.write_text("paraphrased")
    send.check_paraphrased(str(tmp_path), "para10")  # without a record nothing can be said
    script.write_json(f"{table}.json", {"pairs_sha256": script.file_digest(pairs)})
    send.check_paraphrased(str(tmp_path), "para10")
    pairs.write_text("newer pairs")
    for look in (send.sync, lambda *given: send.check_sent(given[0], "train", *given[1:])):
        place = Place("delta" if look is send.sync else "", "/far")
        with pytest.raises(InputError, match="was made from other pairs than .* run make paraphrase TRAIN=para10"):
            look(place, send.Corpus("metadata.tsv", "chunks"), str(tmp_path), "para10")
    send.check_paraphrased(str(tmp_path), "nopara")


def test_each_model_has_its_table():
    assert send.training_table("nopara") == "pairs/nopara.tsv"
    assert send.training_table("para20") == "paraphrased/para20.tsv"


def test_a_file_is_edited_there_that_is_neither_as_sent_nor_as_here():
    local = {
        "same": "1",
        "changed here": "2",
        "edited there": "1",
        "edited on both": "2",
        "never sent": "1",
        "new": "1",
    }
    sent = send.digests_by_name(
        "1  same\n1  changed here\n1  edited there\n1  edited on both\n\n2  edited on both\n0  gone\n"
    )
    there = send.digests_by_name("1  same\n1  changed here\n9  edited there\n9  edited on both\n9  never sent\n")
    assert send.edited_there(local, sent, there) == {"edited there", "edited on both", "never sent"}
    assert sent["edited on both"] == {"1", "2"}  # an attempt that was cut off has noted what it was about to send


def test_every_room_is_sent_and_nothing_else(tmp_path):
    files = send.code_files()
    packages = {path.parent.name for path in send.ROOT.glob("*/__init__.py")}
    assert {"cluster", "paraphrase", "precocity"} <= packages
    assert packages <= {name.split("/")[0] for name in files}
    assert {"delta.py", "Makefile", "prompts.toml", "slurm/job.sh", "slurm/train_para20.slurm"} <= set(files)
    assert not [name for name in files if name.startswith(("tests/", "benchmarks/", "demo/", "output/", "data/", "."))]
    for name in (
        "report/templates/page.html",
        "docs/a.md",
        "docs/a.png",
        ".venv/x.py",
        "tests/x.py",
        "config.mk",
        "x.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert send.code_files(tmp_path) == ["docs/a.md", "report/templates/page.html", "x.py"]  # a copy without git


def test_records_come_from_the_manifest_or_from_each_whole_decade():
    empty, full = '"bytes": null, "sha256": null', f'"bytes": 5, "sha256": "{"0a" * 32}"'
    one = f'{{"decade": 1900, "file": "1900.parquet", {empty}}}'
    other = f'{{"decade": 1910, "file": "1910.parquet", {full}}}'
    manifest, records = fetch.read_records(f"{one}\n\0{other}\n\0", "delta:x")
    assert manifest is None and list(records) == [1900, 1910]
    manifest, records = fetch.read_records(f'{{"passages": 3, "decades": [{one}]}}', "delta:x")
    assert manifest["passages"] == 3 and list(records) == [1900]
    assert fetch.read_records("", "delta:x") == (None, {})
    with pytest.raises(InputError, match=r"delta:x: a record is not valid JSON \(.*\); delete it there"):
        fetch.read_records(one + "\0{", "delta:x")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_what_ssh_and_rsync_say_becomes_one_sentence():
    place = Place("delta", "/projects/x", "ssh -F none")
    full = 'rsync: write failed on "/x": No space left on device (28)\nrsync error: error in file IO (code 11)\n'
    said = {
        (11, full): "copying here: rsync: write failed .*; make room",
        (
            255,
            "ssh: connect to host delta port 22: Connection refused\n",
        ): r"no connection to delta \(.*make connect",
        (
            12,
            "me@delta: Permission denied (publickey).\nrsync: connection unexpectedly closed\n",
        ): "no connection",
        (
            12,
            "rsync: connection unexpectedly closed\n",
        ): r"copying here stopped \(rsync: connection .* again",
        (1, "rsync: -s: unknown option\n"): "this rsync is too old",
        (23, ""): r"copying here stopped \(rsync ended with 23\)",
    }
    for (status, stderr), sentence in said.items():
        with pytest.raises(InputError, match=sentence):
            raise place.rsync_failure(status, stderr, "here")
    gone = "bash: line 1: cd: /projects/x: No such file or directory\n"
    lines = {gone: "the project is not there yet; run make sync-delta", "": "delta: a b failed", "x\n\n": "delta: x"}
    for stderr, sentence in lines.items():
        with pytest.raises(InputError, match=sentence):
            raise place.failure(["a", "b"], f"{stderr}Shared connection to delta closed.\n")


@pytest.mark.parametrize(
    "changed",
    [
        {"decade": "../../1900"},
        {"decade": "1900"},
        {"decade": True},
        {"decade": None},
        {"file": "../1900.parquet"},
        {"file": "/etc/1900.parquet"},
        {"file": "1910.parquet"},
        {"file": ".1900.parquet"},
        {"file": "1900.parquet\n"},
        {"file": None},
        {"bytes": "7"},
        {"sha256": "../x"},
        {"sha256": None},
    ],
)
def test_a_name_from_the_far_end_has_the_form_of_its_kind_or_is_refused(changed):
    record = {"decade": 1900, "file": "1900.parquet", "bytes": 7, "sha256": "0f" * 32}
    good = json.dumps(record)
    assert list(fetch.read_records(f'{{"decades": [{good}]}}', "delta:x")[1]) == [1900]
    bad = json.dumps(record | changed)
    for answer in (f'{{"decades": [{good}, {bad}]}}', f"{good}\0{bad}\0", f'{{"decades": {bad}}}', f"[{bad}]"):
        with pytest.raises(
            InputError, match="delta:x: .* is no record of a decade; delete it there, then run make apply"
        ):
            fetch.read_records(answer, "delta:x")


# ---------------------------------------------------------------- other shells, and what they print


SHELLS = [shell for shell in ("sh", "dash", "bash", "zsh", "ksh", "tcsh", "csh", "fish") if shutil.which(shell)]
ODD = 'it\'s $HOME, "two  words", `x` a!b \\n %s ^a^b é #~{a,b}\nand a line\n'


@pytest.fixture
def far(tmp_path):
    """Return a Place whose ssh runs its command as sshd does: in a login shell, behind what start-up files print."""

    def far(shell="sh", noise=""):
        ssh = tmp_path / "ssh"
        start = f"{noise}; {noise} >&2" if noise else ":"
        ssh.write_text(
            f"#!/bin/bash\nwhile [[ $1 == -* ]]; do [[ $1 == -G ]] && exit; shift 2; done; shift\n{start}\n"
            f'exec {shutil.which(shell)} -c "$*"\n'
        )
        ssh.chmod(0o755)
        folder = tmp_path / "far !é's"
        folder.mkdir(exist_ok=True)
        return Place("delta", str(folder), str(ssh))

    return far


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.slow
def test_words_reach_the_far_end_whatever_the_login_shell(far, shell):
    place = far(shell)
    assert place.run(["printf", "%s", ODD]).text == ODD
    assert (
        place.run(["bash", "-c", 'cat; printf "%s" "$0" "$@"', ODD, "", "*"], text="in!put\n").text == f"in!put\n{ODD}*"
    )
    assert place.run(["pwd"]).text == f"{place.folder}\n"
    place.write("a name's.json", ODD)
    assert (place.digest("a name's.json")) == hashlib.sha256(ODD.encode()).hexdigest()
    with pytest.raises(InputError, match="delta: .*no such"):
        place.run(["ls", "no such"])


def test_what_login_shells_read_differently_is_not_in_a_command():
    """For those that are not installed here: in single quotes csh knows ! and no line feed, fish knows backslashes."""
    command = for_any_shell(f"echo '{ODD}'")
    quoted = command.removeprefix("bash -c '").removesuffix("'")
    assert len(quoted) == len(command) - len("bash -c ''")
    assert not set("'!\n^`") & set(quoted) and quoted.isascii()
    assert re.fullmatch(r"([^\\]|\\[0-7]{3})*", quoted)


@pytest.mark.parametrize("noise", ["echo Welcome", "printf '{'", "echo; echo 12 0; echo '[]'", "printf '\\036x 0\\n'"])
@pytest.mark.slow
def test_what_start_up_files_print_is_in_no_answer(far, tmp_path, monkeypatch, noise):
    place = far(noise=noise)
    assert place.run(["echo", "{}"]).text == "{}\n"
    with pytest.raises(InputError) as told:
        place.run(["false"])
    assert str(told.value) == "delta: false failed"
    (Path(place.folder) / "slurm").mkdir()
    (Path(place.folder) / "slurm/environment.sh").write_text("")
    assert place.gather({"one": "echo 1", "two": "echo 2; false"}) == {"one": Answer("1\n", 0), "two": Answer("2\n", 1)}
    place.write("file", "data")
    assert place.digest("file") == hashlib.sha256(b"data").hexdigest()
    sink = tmp_path / "sink"
    assert fetch.pipe(place.command(["cat", "file"], BEGIN), ["dd", f"of={sink}"], BEGIN) == ""
    assert sink.read_bytes() == b"data"
    with pytest.raises(
        InputError, match="a start-up file of the shell on delta prints “.+”, which disturbs rsync; have"
    ):
        place.rsync([], f"{tmp_path}/sink", place.path("copy"))
    start = tmp_path / "start"
    start.write_text(noise)
    monkeypatch.setenv("BASH_ENV", str(start))  # on this machine, too
    monkeypatch.chdir(place.folder)
    assert Place("", ".").gather({"one": "echo 1"}) == {"one": Answer("1\n", 0)}


def test_an_environment_that_ends_the_shell_is_named(far):
    place = far()
    (Path(place.folder) / "slurm").mkdir()
    (Path(place.folder) / "slurm/environment.sh").write_text("exit 3\n")
    with pytest.raises(InputError, match="no answer to two; does slurm/environment.sh end the shell?"):
        place.gather({"one": "echo 1", "two": ". slurm/environment.sh"})


# ---------------------------------------------------------------- links


def test_what_links_lead_to_is_sent(far, tmp_path):
    """A chunk file, a whole folder of them, a link to a link, the metadata."""
    store, here = tmp_path / "store", tmp_path / "here/chunks"
    (store / "folder").mkdir(parents=True)
    here.mkdir(parents=True)
    for name in ("folder/a.txt", "b.txt", "metadata.tsv"):
        (store / name).write_text(
            f"0\t{name}\n" if name.endswith("txt") else "paperId\tyear\tFILENAME\n1\t1900\tlinked/a.txt\n"
        )
    (here / "linked").symlink_to("../../store/folder")
    (here / "one.txt").symlink_to("two.txt")
    (here / "two.txt").symlink_to(store / "b.txt")
    (tmp_path / "metadata.tsv").symlink_to("store/metadata.tsv")
    place = far()
    (Path(place.folder) / "data").mkdir()
    names = ["linked/a.txt", "one.txt", "two.txt"]
    for _ in range(2):
        new = send.changed_files(place.rsync(["-i", "--checksum"], f"{here}/", place.path("data/chunks/"), names))
        new += send.changed_files(place.rsync(["-i"], str(tmp_path / "metadata.tsv"), place.path("data/metadata.tsv")))
    assert new == []  # the second time
    shutil.move(store, tmp_path / "gone")
    got = [Path(place.folder) / "data/chunks" / name for name in names]
    assert [path.read_text() for path in got] == ["0\tfolder/a.txt\n", "0\tb.txt\n", "0\tb.txt\n"]
    assert (Path(place.folder) / "data/metadata.tsv").read_text().startswith("paperId")


def test_a_link_to_nothing_is_no_missing_document(tmp_path):
    (tmp_path / "metadata.tsv").write_text("paperId\tyear\na\t1900\nb\t1900\n")
    (tmp_path / "a.txt").write_text("0\tx\n")
    corpus_here = send.Corpus(str(tmp_path / "metadata.tsv"), str(tmp_path))
    assert corpus_here.chunk_names() == ["a.txt"]
    (tmp_path / "b.txt").symlink_to("../store/b.txt")
    with pytest.raises(
        InputError, match=r"b.txt is a link to ../store/b.txt, which is not there; bring it there first"
    ):
        corpus_here.chunk_names()

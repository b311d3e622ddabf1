"""What is sent, what was edited, taken over: cluster/send.py and fetch.py on what rsync and sha256sum printed."""

import shutil
import subprocess

import pytest

import script
from cluster import fetch, send
from cluster.place import Place
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
    one, other = '{"decade": 1900, "file": "1900.parquet"}', '{"decade": 1910, "file": "1910.parquet"}'
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

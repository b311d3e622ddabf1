"""From pairs here to embeddings on the campus cluster, and every way in which carrying things can break."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time

import pytest

import script

BIG = 150_000_000  # bytes of noise: seconds of transfer, time to cut it off


def tree(folder):
    """Return what lies in a folder: path → (size, time, content's digest)."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".venv" not in path.parts]
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, script.file_digest(p)) for p in files}


def cut_connection(user, running, seen):
    """Kill the far end's ssh sessions as soon as seen() is true."""
    while not seen():
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    user.end_sessions()


def far_embeddings(user, model="nopara", size=1000, decades=(1900, 1910)):
    """Lay a folder of embeddings with files of noise on delta, as Apply_Tuned_Model.py would record them."""
    folder = user.far / "output/embeddings" / model
    (folder / "decades").mkdir(parents=True, exist_ok=True)
    records = []
    for decade in decades:
        data = os.urandom(size)
        (folder / f"{decade}.parquet").write_bytes(data)
        record = {"decade": decade, "file": f"{decade}.parquet", "bytes": size, "passages": 1, "documents": 1}
        records.append(record | {"sha256": hashlib.sha256(data).hexdigest()})
        script.write_json(folder / f"decades/{decade}.json", records[-1])
    script.write_json(folder / "manifest.json", {"passages": len(records), "decades": records})
    return folder


def same_files(one, other):
    names = sorted(path.name for path in one.glob("*.parquet"))
    assert names and names == sorted(path.name for path in other.glob("*.parquet"))
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_the_round_trip_from_pairs_to_the_campus_cluster(user):
    """With a training that is stopped in its middle, and a folder for logs that somebody has deleted."""
    user.config.write_text(user.config.read_text().replace("--epochs 2", "--epochs 100 --save-steps 50"))
    user.make("sync-delta")
    user.delta("rm -r logs")
    assert "submitted job" in user.make("train")
    assert "after job" in user.make("apply", "SHARDS=2")
    train, apply = (line.split("\t")[3] for line in (user.far / "logs/jobs.tsv").read_text().splitlines())
    user.until(lambda: user.checkpoint("nopara", 50))
    user.delta(f"scancel --signal=USR1 {train}")
    user.until(lambda: "goes on in a new run" in user.log(train))
    assert user.state(apply) == "PENDING"
    user.make("wait", "EVERY=1")
    said = user.make("status")
    assert "models/nopara: complete" in said and "6 decades, complete" in said
    assert list(user.far.glob("logs/train_nopara-*.out"))
    assert "is complete already; nothing submitted" in user.make("train")
    user.make("pull-model")
    user.make("pull-embeddings")
    here, there = user.clone / "output/embeddings/nopara", user.far / "output/embeddings/nopara"
    assert same_files(here, there)
    manifest = json.loads((here / "manifest.json").read_text())
    assert manifest["passages"] == 24 * 12 and manifest["commit"]
    assert not list((user.clone / "output").glob("*/.*"))  # nothing half-done is left
    user.make("pull-embeddings", f"CAMPUS=campus:{user.campus}")
    assert same_files(user.campus / "nopara", there) and (user.campus / "nopara/manifest.json").exists()
    before = tree(user.campus)
    user.make("pull-embeddings", f"CAMPUS=campus:{user.campus}")
    assert {name: digest for name, (_, digest) in tree(user.campus).items()} == {n: d for n, (_, d) in before.items()}
    for name, (changed, _) in before.items():
        assert not name.endswith("parquet") or tree(user.campus)[name][0] == changed
    said = user.make("report")  # with the model and the embeddings of the cluster: nothing is trained here
    assert "TuneEmbeddings.py" not in said and "The report:" in said


def test_without_a_connection_it_says_run_make_connect(user):
    key = user.rig / "id"
    config = (user.rig / "ssh_config").read_text()
    key = next(line.split()[1] for line in config.splitlines() if "IdentityFile" in line)
    user.make("connect")
    os.rename(key, key + ".away")  # as with Duo: no new login without a person
    try:
        user.make("sync-delta")  # through the open connection
        subprocess.run(["ssh", "-F", user.rig / "ssh_config", "-O", "exit", "delta"], capture_output=True)
        started = time.time()
        for target in ("sync-delta", "train", "status", "wait", "pull-model", "pull-embeddings"):
            user.make(target, fails="no connection to delta (")
            user.make(target, fails="run make connect first")
        assert time.time() - started < 30
    finally:
        os.rename(key + ".away", key)
        user.make("connect")


def test_an_unknown_host_is_one_sentence(user):
    user.make("status", "DELTA=nowhere.invalid", fails="no connection to nowhere.invalid")


def test_a_push_that_was_cut_off_shows_no_torn_file_and_goes_on(user):
    user.make("sync-delta")
    big = user.clone / "data/chunks/doc03.txt"
    big.write_bytes(b"0\t" + os.urandom(BIG // 2).hex().encode() + b"\n")
    target = user.far / "data/chunks/doc03.txt"
    before = target.read_bytes()
    running = user.start("sync-delta")
    partial = user.far / "data/chunks"
    cut_connection(user, running, lambda: any(p.stat().st_size > BIG // 50 for p in partial.rglob(".doc03.txt.*")))
    _, err = running.communicate(timeout=60)
    assert running.returncode != 0 and ("run the same command again" in err or "make connect" in err), err
    assert target.read_bytes() == before
    user.make("connect")
    user.make("sync-delta")
    assert script.file_digest(target) == script.file_digest(big)
    assert sorted(path.name for path in partial.iterdir()) == sorted(path.name for path in big.parent.iterdir())


@pytest.mark.parametrize("campus", [False, True])
def test_a_pull_that_was_cut_off_shows_no_torn_decade_and_goes_on(sent, campus):
    there = far_embeddings(sent, size=BIG)
    here = sent.campus / "nopara" if campus else sent.clone / "output/embeddings/nopara"
    words = ["pull-embeddings", f"CAMPUS=campus:{sent.campus}"] if campus else ["pull-embeddings"]
    running = sent.start(*words)
    pattern = ".*1900.parquet.*"

    def begun():
        return any(p.stat().st_size > BIG // 50 for p in (here if campus else here.parent).rglob(pattern))

    cut_connection(sent, running, begun)
    _, err = running.communicate(timeout=60)
    assert running.returncode != 0 and ("run the same command again" in err or "make connect" in err), err
    assert not list(here.glob("[0-9]*.parquet")) and not (here / "manifest.json").exists()
    sent.make("connect", *words[1:])
    sent.make(*words)
    assert same_files(here, there) and (here / "manifest.json").exists()
    assert not [path for path in here.parent.rglob("*partial*") if path.is_file()]


def test_a_change_of_the_same_size_and_time_is_noticed_on_either_side(sent):
    victim = sent.far / "data/chunks/doc05.txt"
    good, times = victim.read_bytes(), victim.stat()
    victim.write_bytes(good.replace(b"w1", b"w9"))
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(victim.read_bytes()) == len(good) and victim.read_bytes() != good
    sent.make("sync-delta")
    assert victim.read_bytes() == good
    there = far_embeddings(sent)
    sent.make("pull-embeddings")
    mine = sent.clone / "output/embeddings/nopara/1910.parquet"
    times = mine.stat()
    mine.write_bytes(os.urandom(1000))
    os.utime(mine, ns=(times.st_atime_ns, times.st_mtime_ns))
    sent.make("pull-embeddings")
    assert same_files(mine.parent, there)


def test_only_whole_decades_are_taken_over(sent):
    there = far_embeddings(sent, decades=(1900, 1910))
    (there / "manifest.json").unlink()
    (there / "1920.parquet").write_bytes(b"half")  # without a record: not whole
    sent.make("pull-embeddings", fails="2 decades are whole and were taken over, others are missing")
    here = sent.clone / "output/embeddings/nopara"
    assert sorted(path.name for path in here.glob("*.parquet")) == ["1900.parquet", "1910.parquet"]
    assert not (here / "manifest.json").exists()
    far_embeddings(sent, decades=(1900, 1910, 1920))
    sent.make("pull-embeddings")
    assert same_files(here, there) and (here / "manifest.json").exists()
    (there / "1910.parquet").write_bytes(os.urandom(1000))
    os.utime(there / "1910.parquet", (1, 1))
    sent.make("pull-embeddings", fails="1910.parquet is not what its record tells of")
    assert (here / "manifest.json").exists()
    far_embeddings(sent, decades=(1920,))
    shutil.rmtree(there)
    sent.make("pull-embeddings", fails="holds no decade yet")
    assert (here / "manifest.json").exists()


def test_decades_and_models_that_are_only_here_are_not_replaced(sent):
    far_embeddings(sent)
    sent.make("pull-embeddings")
    script.write_json(sent.clone / "output/embeddings/nopara/decades/1950.json", {"decade": 1950})
    sent.make("pull-embeddings", fails="holds decades that delta:")
    mine = sent.clone / "output/models/nopara"
    mine.mkdir(parents=True)
    script.write_json(mine / "training.json", {"trained": "here"})
    sent.make("pull-model", fails="holds no finished model")
    (sent.far / "output/models/nopara/final").mkdir(parents=True)
    script.write_json(sent.far / "output/models/nopara/training.json", {"trained": "there"})
    sent.make("pull-model", fails="holds another model, trained here")
    assert script.read_json(mine / "training.json") == {"trained": "here"}
    shutil.rmtree(mine)
    left = mine.with_name(".nopara.pull") / "final/1_Dense/model.safetensors"  # by a pull of another model, cut off
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of another model")
    sent.make("pull-model")
    assert not (mine / "final/1_Dense").exists()
    script.write_json(sent.far / "output/models/nopara/training.json", {"trained": "there, again"})
    sent.make("pull-model")  # one that was pulled may be replaced
    assert script.read_json(mine / "training.json") == {"trained": "there, again"}
    script.write_json(mine / "training.json", {"trained": "here, after the pull"})
    sent.make("pull-model", fails="holds another model, trained here")
    assert script.read_json(mine / "training.json") == {"trained": "here, after the pull"}


def test_a_full_disk_at_the_far_end_is_one_sentence_and_loses_nothing(user):
    shutil.rmtree(user.far)
    user.far.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", user.far], check=True)
    try:
        big = user.clone / "data/chunks/doc03.txt"
        big.write_bytes(b"0\t" + os.urandom(2_000_000).hex().encode() + b"\n")
        user.make("sync-delta", fails="No space left on device")
        assert not (user.far / "data/chunks/doc03.txt").exists()
        subprocess.run(["mount", "-o", "remount,size=100m", user.far], check=True)
        user.make("sync-delta")
        assert script.file_digest(user.far / "data/chunks/doc03.txt") == script.file_digest(big)
        too_much = user.clone / "slurm/z.slurm"
        too_much.write_bytes(os.urandom(2_000_000))
        subprocess.run(["mount", "-o", "remount,size=6m", user.far], check=True)
        (user.clone / "LICENSE").write_text("sent before the disk was full\n")
        user.make("sync-delta", fails="No space left on device")
        too_much.unlink()
        subprocess.run(["mount", "-o", "remount,size=10m", user.far], check=True)
        (user.clone / "LICENSE").write_text("changed here only\n")
        user.make("sync-delta")
        with contextlib.suppress(OSError), (user.far / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        (user.clone / "README.md").write_text("changed here only\n")
        user.make("sync-delta", fails="make room")
        (user.far / "filler").unlink()
        user.make("sync-delta")
        for name in ("LICENSE", "README.md"):
            assert (user.far / name).read_text() == "changed here only\n"
    finally:
        subprocess.run(["umount", user.far], check=True)


def test_a_dry_run_prints_the_commands_and_changes_nothing(user):
    far_embeddings(user)
    before = tree(user.clone), tree(user.far), user.delta("squeue -h -a")
    targets = ("connect", "setup-delta", "sync-delta", "preflight", "train", "apply", "status", "logs", "cancel")
    for target in (*targets, "wait", "pull-model", "pull-embeddings", "precocity-cluster", "pull-precocity"):
        said = user.make(target, "DRY_RUN=1", f"CAMPUS=campus:{user.campus}")
        assert "ssh -F" in said, target
        assert target != "sync-delta" or "rsync -rLtz" in said
        assert target not in ("train", "apply") or "sbatch --parsable" in said
    assert (tree(user.clone), tree(user.far), user.delta("squeue -h -a")) == before
    assert not user.campus.exists()


def test_settings_that_cannot_be_are_named(user):
    user.make("pull-embeddings", "CAMPUS=campus", fails="CAMPUS is 'campus'; it is host:path")
    user.make("sync-delta", "TRAIN=para20", fails="no output/pairs/para20.tsv; run make pairs TRAIN=para20 first")
    user.make("sync-delta", "DELTA_DIR=my/project", fails="delta:my/project is not a whole path")
    user.make("pull-embeddings", "CAMPUS=campus:there", fails="campus:there is not a whole path")
    user.make("logs", "TRAIN=nopara", fails="the project is not there yet; run make sync-delta first")
    user.make("sync-delta")
    user.make("logs", fails="no log of nopara yet")
    user.make("wait", fails="no job of nopara is known")
    user.make("pull-embeddings", fails="holds no decade yet")

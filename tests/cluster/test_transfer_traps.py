"""What users' names, edits, profiles and models must not do to a transfer."""

import json
import os

from test_round_trip import far_embeddings, same_files

import corpus
import script


def with_names(user, *names):
    """Give some documents chunk files of these names."""
    metadata = user.clone / "data/metadata.tsv"
    lines = metadata.read_text().splitlines()
    lines = [lines[0] + "\tFILENAME", *(f"{line}\tdoc{i:02d}.txt" for i, line in enumerate(lines[1:]))]
    for i, name in enumerate(names):
        lines[i + 1] = lines[i + 1].replace(f"doc{i:02d}.txt", f'"{name}"')
        (user.clone / "data/chunks" / f"doc{i:02d}.txt").rename(user.clone / "data/chunks" / name)
    metadata.write_text("\n".join(lines) + "\n", newline="")


def test_odd_names_are_sent_and_edits_there_stay(user):
    odd = ["#1.txt", ";2.txt", "a\rb.txt", "c d.txt"]
    with_names(user, *odd)
    (user.clone / "slurm/my job.slurm").write_text("#!/bin/bash\n")
    (user.far / "slurm").mkdir()
    (user.far / "slurm/job.sh").write_text("# made by hand\n")
    for _ in range(2):  # the second time nothing has changed
        assert "slurm/job.sh was edited on delta: left as it is there" in user.make("sync-delta")
        assert (user.far / "slurm/job.sh").read_text() == "# made by hand\n"
    for name in odd:
        assert (user.far / "data/chunks" / name).read_bytes() == (user.clone / "data/chunks" / name).read_bytes()
    (user.clone / "data/chunks/#1.txt").write_text("0\tw1\n")
    (user.clone / "data/chunks/;2.txt").write_text("0\tw2\n")
    user.make("apply", fails="delta lacks 2 files as they are here")
    (user.far / "slurm/my job.slurm").write_text("#!/bin/bash\n# edited there\n")
    assert "my job.slurm was edited on delta" in user.make("sync-delta")
    assert "edited there" in (user.far / "slurm/my job.slurm").read_text()
    (user.clone / "slurm/my job.slurm").write_text("#!/bin/bash\n# edited here\n")
    user.make("sync-delta", fails="slurm/my job.slurm was edited here and on delta since it was sent")


def paraphrase_there(user):
    """Lay down at the far end what slurm/paraphrase_local.slurm and slurm/train_para10.slurm leave there."""
    output = user.far / "output"
    rows = corpus.read_pairs(output / "pairs/para10.tsv")
    rows = [{name: "w1 w2" if cell == corpus.TO_GENERATE else cell for name, cell in row.items()} for row in rows]
    added = {name: "" for name in corpus.PARAPHRASED_COLUMNS[len(corpus.PAIR_COLUMNS) :]}
    table = output / "paraphrased/para10.tsv"
    corpus.write_pairs(table, [row | added for row in rows], corpus.PARAPHRASED_COLUMNS)
    for name in ("para10.tsv.json", "para10.tsv.journal.jsonl"):
        (table.parent / name).write_text("{}\n")
    (output / "models/para10/final").mkdir(parents=True)
    script.write_json(output / "models/para10/training.json", {"seconds": 1})
    for path in output.rglob("*"):
        os.utime(path, (1e9, 1e9))  # made long before anything here


def test_paraphrased_there_then_the_table_comes_with_the_model(user):
    pairs = user.clone / "output/pairs"
    for name in ("para10.tsv.rejects.tsv", "para10.tsv.json"):
        (pairs / name).write_text("beside the table\n")
    assert "paraphrase_local.slurm" in user.make("sync-delta", "TRAIN=para10")
    assert sorted(path.name for path in (user.far / "output/pairs").iterdir()) == ["nopara.tsv", "para10.tsv"]
    paraphrase_there(user)
    user.make("sync-delta", "TRAIN=para10")
    user.make("pull-model", "TRAIN=para10")
    mine = user.clone / "output/paraphrased"
    names = ["para10.tsv", "para10.tsv.journal.jsonl", "para10.tsv.json"]
    assert sorted(path.name for path in mine.iterdir()) == sorted(names)
    said = user.make("train-local", "TRAIN=para10")  # all is there already
    assert "TuneEmbeddings.py" not in said and "synthetic_data_generator.py" not in said
    (mine / "para10.tsv").write_text("mine\n")
    user.make("pull-model", "TRAIN=para10")
    assert (mine / "para10.tsv").read_text() == "mine\n"
    for path in pairs.glob("para10.tsv*"):  # as in a clone on another machine
        path.unlink()
    (mine / "para10.tsv").unlink()
    user.make("sync-delta", "TRAIN=para10")


def test_a_talking_profile_and_a_record_that_was_lost_do_no_harm(sent):
    profiles = [sent.rig / end / "home/.bash_profile" for end in ("delta", "campus")]
    there = far_embeddings(sent)
    (there / "decades/1900.json").unlink()
    here, campus = sent.clone / "output/embeddings/nopara", f"CAMPUS=campus:{sent.campus}"
    try:
        for profile in profiles:
            profile.write_text("echo 'Welcome!'; echo -n '{'; echo 'a reminder  of two words' >&2\n")
        sent.make("sync-delta")
        for words, folder in ((["pull-embeddings"], here), (["pull-embeddings", campus], sent.campus / "nopara")):
            sent.make(*words)
            assert same_files(folder, there)
            assert sorted(path.name for path in folder.glob("decades/*")) == ["1900.json", "1910.json"]
            assert len(json.loads((folder / "manifest.json").read_text())["decades"]) == 2
        said = sent.make("pull-embeddings", campus, "DRY_RUN=1")
        assert "tail -c +1 output/embeddings/nopara/DECADE.parquet" in said and " | " in said
        assert "Welcome!" not in sent.make("status")
    finally:
        for profile in profiles:
            profile.unlink(missing_ok=True)

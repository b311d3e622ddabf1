"""slurm/precocity.slurm on a real Slurm: an array over years, edited by hand, ends with one table."""

import re

import numpy as np

import corpus
import script

EDITS = {
    "--array=190-200%8": "--array=190-195%3",
    "--cpus-per-task=8": "--cpus-per-task=2",
    "EMBEDDINGS=output/embeddings/para10": 'EMBEDDINGS="output/embeddings/my own"',
    "PRECOCITY=output/precocity/para10": 'PRECOCITY="output/precocity/my own"',
    "YEARS=(-s 1900 -e 2010)": "YEARS=(-s 1905 -e 1960)",
}


def embed(folder, metadata):
    """Write random vectors for the word corpus, 12 passages a document."""
    documents, _ = corpus.read_metadata(metadata)
    dice = np.random.default_rng(0)
    for decade in {corpus.decade_of(document.year) for document in documents}:
        ids = [d.paper_id for d in documents if corpus.decade_of(d.year) == decade for _ in range(12)]
        vectors = dice.normal(size=(len(ids), 16)).astype(np.float32)
        corpus.write_embeddings(folder / f"{decade}.parquet", ids, [*range(12)] * (len(ids) // 12), vectors)


def edited(user):
    """Edit the job file on the cluster, as a user would."""
    file = user.far / "slurm/precocity.slurm"
    text = file.read_text()
    for old, new in EDITS.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text(text)


def test_an_array_over_years_ends_with_one_table_and_goes_on_where_it_was(sent):
    edited(sent)
    embed(sent.far / "output/embeddings/my own", sent.far / "data/metadata.tsv")
    folder = sent.far / "output/precocity/my own"
    job = sent.submit("slurm/precocity.slurm", "--dtype", "float64")
    assert sent.until_ended(job) == "COMPLETED", sent.log(f"{job}_*")
    logs = "".join(path.read_text() for path in sent.far.glob(f"logs/precocity-{job}_*.out"))
    assert len(list(sent.far.glob(f"logs/precocity-{job}_*.out"))) == 6 and "ended with status 0" in logs
    table = (folder / "1905s_docs.tsv").read_text()
    documents, _ = corpus.read_metadata(sent.far / "data/metadata.tsv", 1905, 1960)
    assert list(dict.fromkeys(line.split("\t")[0] for line in table.splitlines()[1:])) == [
        d.paper_id for d in documents
    ]
    record = script.read_json(folder / "manifest.json")
    assert record["lines"] == len(documents) * 48 and record["commit"]

    made = {path.name: path.stat().st_mtime_ns for path in folder.glob("years/*.tsv")}
    (folder / f"years/{documents[3].year}.tsv").write_text("cut off")
    job = sent.submit("slurm/precocity.slurm", "--dtype", "float64")
    assert sent.until_ended(job) == "COMPLETED"
    changed = {path.name for path in folder.glob("years/*.tsv") if made[path.name] != path.stat().st_mtime_ns}
    assert changed == {f"{documents[3].year}.tsv"} and (folder / "1905s_docs.tsv").read_text() == table
    assert len(set(re.findall(r"up to date", "".join(p.read_text() for p in sent.far.glob(f"logs/*{job}_*"))))) == 1


def test_bad_embeddings_fail_the_task_with_one_sentence(sent):
    edited(sent)
    job = sent.submit("--array=190", "slurm/precocity.slurm")
    assert sent.until_ended(job) == "FAILED"
    log = (sent.far / f"logs/precocity-{job}_190.out").read_text()
    assert "output/embeddings/my own is not a folder" in log and "Traceback" not in log

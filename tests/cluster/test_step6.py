"""Precocity on the campus cluster and back: four commands, and no model or embedding on the laptop."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_precocity_job import embed

FLAGS = "--exclude-quotes -r data/chunks -a mine.tsv --train-pairs pairs.tsv"


@pytest.fixture
def campus(user):
    """Return the folder that CAMPUS names: a second one on delta, the only host here with Slurm; no setup-delta."""
    metadata = user.clone / "data/metadata.tsv"
    header, *rows = metadata.read_text().splitlines()
    at = header.split("\t").index("year")
    cells = [row.split("\t") for row in rows]
    dated = [[*row[:at], str(1900 + i), *row[at + 1 :]] for i, row in enumerate(cells)]  # dense enough for precocity
    metadata.write_text("".join("\t".join(row) + "\n" for row in [header.split("\t"), *dated]))
    folder = user.far.with_name(f"{user.far.name} campus")
    embed(folder / "nopara", metadata)
    # The module's Python: it has numpy, so that the test installs nothing.
    environment = (user.clone / "slurm/environment.sh").read_text()
    edited = environment.replace('MODULES=""   ', 'MODULES="pytorch-conda/2.12"   ')
    assert edited != environment
    (folder / "slurm").mkdir()
    (folder / "slurm/environment.sh").write_text(edited)
    (user.clone / "mine.tsv").write_text("doc03\tdoc04\n")
    (user.clone / "pairs.tsv").write_text("paperId\tyear\tanchor\tpositive\tcategory\ndoc05\t1905\ta\tb\tsuccessive\n")
    lines = f"CAMPUS = delta:{folder}\nPRECOCITY_FLAGS = {FLAGS}\nPRECOCITY_SBATCH = --cpus-per-task=1 --hold\n"
    user.config.write_text(user.config.read_text() + lines)
    return folder


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".tsv", ".parquet")}


def test_precocity_goes_to_the_campus_cluster_and_comes_back(user, campus):
    user.make("pull-precocity", fails="holds no finished table; make status AT=campus tells how far it is")
    user.make("precocity-cluster", "TRAIN=para20", fails="campus/para20; make pull-embeddings sends")
    said = user.make("precocity-cluster")
    assert "ready: Python" in said and "submitted job" in said and (campus / ".venv/without-torch").exists()
    said = user.make("precocity-cluster")
    assert "does this already; nothing sent, nothing submitted" in said and "Python" not in said
    user.make("precocity-cluster", "END_YEAR=1930", fails="another precocity of nopara is under way on delta")
    user.delta("scontrol release $(squeue -h -o %A | sort -u)")
    user.make("wait", "AT=campus", "EVERY=1")
    assert "precocity output/precocity/nopara: complete" in user.make("status", "AT=campus")
    assert "precocity" in user.make("logs", "AT=campus")
    user.make("pull-precocity")
    here = user.clone / "output/precocity/nopara"

    said = user.make("precocity")
    assert "report_precocity.py" in said and "TuneEmbeddings" not in said and (here / "section.html").exists()
    said = user.make("report")
    assert "The report:" in said and "Apply_Tuned_Model" not in said and "TuneEmbeddings" not in said
    assert not (user.clone / "output/embeddings").exists() and not (user.clone / "output/models").exists()
    assert "Precocity" in (user.clone / "output/report/nopara/report.html").read_text()

    local = user.clone / "local"
    words = ["calc_precocity_for_embeddings.py", "-m", "data/metadata.tsv", "-d", campus / "nopara", "-o", local]
    subprocess.run([sys.executable, *words, *FLAGS.split(), "--threads", "1"], cwd=user.clone, check=True)
    there = tables(here)
    assert {name: there[name] for name in tables(local)} == tables(local) and len(tables(local)) > 40
    assert b"doc10\t1910" in there["1900s_docs.tsv"] and "24 documents" not in (here / "section.html").read_text()
    shutil.rmtree(local)

    user.make("clean")
    user.make("pull-precocity", "precocity")  # in one go, too
    assert tables(here) == there | {"precocity_most_least.tsv": (here / "precocity_most_least.tsv").read_bytes()}
    assert not (user.clone / "output/embeddings").exists()
    passages = next((campus / "output/precocity/nopara/passages").glob("*.parquet"))
    passages.write_bytes(passages.read_bytes()[:-1])
    user.make("pull-precocity", fails=f"passages/{passages.name} is not what its record tells of")
    assert tables(here).items() >= there.items()  # what was whole here stays


def test_a_transfer_node_is_told_in_one_sentence(user):
    user.make("precocity-cluster", f"CAMPUS=campus:{user.campus}", fails="CAMPUS has to name a login node; a transfer")
    user.make("precocity-cluster", fails="CAMPUS is not set; in config.mk, write CAMPUS = host:path")

"""Precocity on a campus cluster, as far as it goes without one (tests/cluster/test_step6.py has the real one)."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_cluster_checks import DISK, facts, sbatch_said
from test_layout import FILES
from test_pipeline import make, ran  # noqa: F401  make is a fixture
from test_precocity import dense, embedded  # noqa: F401  fixtures, too

import delta
import script
from cluster import campus, checks, jobs
from cluster.place import Answer, Place
from cluster.send import Corpus
from script import InputError

ROOT = Path(__file__).resolve().parents[1]


# ---- what the job runs


@pytest.fixture
def corpus(corpus_folder, monkeypatch) -> Corpus:
    """Return a corpus of four documents. Its own years do not matter: precocity measures what its flags say."""
    monkeypatch.chdir(ROOT)
    for year in (1895, 1901, 1907, 1921):
        corpus_folder.add(f"d{year}", year, 1)
    return Corpus(str(corpus_folder.write().metadata), "chunks", 1900, 1902)


@pytest.mark.parametrize(
    ("flags", "array", "years"),
    [
        ("", "189-190,192%8", "-s 1895 -e 1922"),
        ("-s 1900", "190,192%8", "-s 1900 -e 1922"),
        ("-s 1900 -e 1920 --enddate=1910 --dtype float64", "190%8", "-s 1900 -e 1910"),
    ],
)
def test_the_array_has_a_task_for_each_decade_that_make_precocity_would_measure(corpus, flags, array, years):
    request = campus.requested(corpus, "para20", "--partition=secondary --time=30", flags.split())
    assert request.sbatch == (f"--array={array}", "--partition=secondary", "--time=30")
    assert request.file == "slurm/precocity.slurm"
    there = f"-m data/metadata.tsv -d para20 -o output/precocity/para20 {years}"
    assert list(request.flags) == [*flags.split(), *there.split()]


def test_files_that_flags_name_have_their_names_there(corpus):
    flags = "--exclude-quotes -r my/chunks -a mine.tsv --chunkexclude=quoting.tsv --train-pairs pairs.tsv"
    words = list(campus.requested(corpus, "para10", "", flags.split()).flags)
    there = "-a data/articleexclude.tsv -c data/chunkexclude.tsv --train-pairs data/train_pairs.tsv -r data/chunks"
    assert words[-8:] == there.split()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [(["-s", "early"], "-s early: write a year"), (["-e", "1800"], "has no document of the years asked for")],
)
def test_years_that_cannot_be_are_one_sentence(corpus, flags, complaint):
    with pytest.raises(InputError, match=complaint):
        campus.requested(corpus, "para10", "", flags)


def test_what_can_be_wrong_there_is_told_in_its_own_settings(corpus):
    request = campus.requested(corpus, "para10", "", [])
    refused = sbatch_said("allocation failure: Invalid partition name specified", account="", partition="cpu")
    python = Answer(".venv/bin/python\nimportlib.metadata.PackageNotFoundError: pyarrow\n", 1)
    given = facts(sbatch=refused, status=1, python=python, disk=Answer(DISK.replace("80931652", "3000000"), 0))
    found = {finding.text for finding in checks.findings(request, given) if not finding.well}
    assert len(found) == 2 and any("set --account and --partition in PRECOCITY_SBATCH, or edit" in f for f in found)
    lacks = "environment: .venv/bin/python lacks numpy or pyarrow or threadpoolctl; run make precocity-cluster"
    assert lacks in found  # and 2 GB are room enough


def test_the_record_of_a_job_is_the_manifest_of_its_last_folder():
    words = ["python", "-u", "calc_precocity_for_embeddings.py", "-m", "data/metadata.tsv", "-o", "its/own"]
    for last in (["-o", "output/precocity/para20"], ["--outputfolder=output/precocity/para20"]):
        command = jobs.read_command("precocity", "\n".join([*words, *last, "--year", "00"]))
        assert command.record == "output/precocity/para20/manifest.json" and command.words[0] == words[2]


def test_what_is_said_of_campus_leads_back_to_it():
    place = delta.campus_of(delta.parse_args(["status", "--campus", "campus:/data/x"]))
    gone = "bash: line 1: cd: /data/x: No such file or directory\n"
    assert "is not there yet; run make precocity-cluster first" in str(place.failure(["a"], gone))
    assert place.target("logs TRAIN=para20") == "make logs TRAIN=para20 AT=campus"
    assert Place("delta", "/x").target("wait") == "make wait"


@pytest.mark.parametrize("action", ["precocity", "pull-precocity", "status"])
def test_without_campus_it_says_what_to_set(action, capsys):
    assert delta.main([action, *(["--at-campus"] if action == "status" else [])]) == 2
    assert "CAMPUS is not set; in config.mk, write CAMPUS = host:path" in capsys.readouterr().err


def test_a_check_measures_and_writes_nothing(dense, caplog, capsys):  # noqa: F811
    assert dense.run("--check", "--exclude-same-author") == 0
    assert re.search(r"\d+ documents of \d+ years, embeddings of \d+ decades", caplog.text)
    assert not list(dense.folder.rglob("*exclusions*")) and not list(dense.folder.rglob("years"))
    assert dense.run("--check", "-a", "nowhere.tsv") == 2
    assert "nowhere.tsv" in capsys.readouterr().err


@pytest.mark.slow
def test_measuring_needs_no_more_than_its_requirements(dense):  # noqa: F811
    """The environment of make precocity-cluster has these packages and no others, not even PyTorch."""
    named = re.findall("^([a-z]+)>=", (ROOT / "requirements-precocity.txt").read_text(), re.MULTILINE)
    pinned = (ROOT / "constraints.txt").read_text()
    assert all(f"\n{name}==" in pinned for name in named)
    installed = importlib.metadata.packages_distributions()
    others = {top for top, names in installed.items() if not set(named) & set(names)} - set(FILES)
    program = f"""import sys
class Nothing:
    def find_spec(name, *more):
        if name.partition(".")[0] in {others}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing)
import calc_precocity_for_embeddings as calc
sys.exit(calc.main(sys.argv[1:]))"""
    words = ["-m", dense.metadata, "-d", dense.data, "-o", dense.folder / "out", "--exclude-same-author"]
    done = subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and list((dense.folder / "out").glob("*s_docs.tsv")), done.stderr


def test_a_gpu_that_is_asked_for_without_pytorch_is_one_sentence(dense, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "-packages" not in path])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert dense.run("--check", "--device", "auto") == 2
    assert "--device auto needs PyTorch, which is not installed here; leave --device out." in capsys.readouterr().err


# ---- and back


@pytest.fixture
def measured(embedded):  # noqa: F811
    """Return a folder of results."""
    for year in (1900, 1901):
        embedded.add(f"d{year}", year, [[1, year - 1899], [0, 1]])
    assert embedded.write().run() == 0
    return embedded.out


def test_what_came_through_whole_is_taken(measured):
    manifest = campus.verified(measured, "far")
    assert manifest == script.read_json(measured / "manifest.json") and manifest["lines"] > 0


@pytest.mark.parametrize("pattern", ["years/*.tsv", "passages/*.parquet", "*s_docs.tsv"])
@pytest.mark.parametrize("change", ["altered", "gone"])
def test_a_file_that_is_not_what_its_record_tells_of_is_named(measured, pattern, change):
    path = sorted(measured.glob(pattern))[-1]
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match=f"^far/{path.relative_to(measured)} is not what its record tells of; run"):
        campus.verified(measured, "far")


def test_precocity_that_was_measured_here_is_not_replaced(measured):
    with pytest.raises(InputError, match="was measured here; move it away"):
        campus.check_replaced(measured)
    (measured / ".pulled").write_text(script.file_digest(measured / "manifest.json"))
    campus.check_replaced(measured)
    campus.check_replaced(measured / "nowhere")


# ---- what make does with it


@pytest.fixture
def pulled(make):  # noqa: F811
    """Lay precocity that came from a cluster into the output folder; return make."""
    make("settings")
    folder = make.output / "precocity/nopara"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / ".pulled").write_text("digest")
    return make


def test_nothing_is_trained_or_embedded_for_precocity_that_was_measured_elsewhere(pulled):
    assert ran(pulled("-n", "precocity", "TRAIN=nopara").stdout) == ["report_precocity"]
    assert ran(pulled("-n", "report", "TRAIN=nopara").stdout) == ["report_precocity", "evaluate_timeline"]
    said = pulled("-n", "report", "TRAIN=nopara").stdout
    assert "base=" not in said and "--section" in said
    assert "TuneEmbeddings" in ran(pulled("-n", "precocity").stdout)  # another model's


def test_make_compares_the_models_as_well_where_their_embeddings_are_here(pulled):
    folder = pulled.output / "embeddings/nopara"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    said = pulled("-n", "report", "TRAIN=nopara").stdout
    assert f"nopara={folder}" in said and "base=" in said and "--section" in said


def test_one_call_brings_and_shows_it(make):  # noqa: F811
    said = make("-n", "pull-precocity", "precocity", "TRAIN=nopara", "CAMPUS=campus:/x").stdout
    assert "TuneEmbeddings.py" not in said and "calc_precocity" not in said


def test_precocity_from_elsewhere_stays_after_a_change_of_settings_and_is_named(pulled):
    (pulled.output / "precocity/nopara/section.html").touch()
    assert "stays as it is" not in pulled("precocity", "TRAIN=nopara").stdout
    said = pulled("precocity", "TRAIN=nopara", "PRECOCITY_FLAGS=--dtype float64").stdout
    assert "precocity/nopara was measured on the cluster and stays as it is" in said and ran(said) == []


def test_a_page_of_precocity_alone(tmp_path, capsys):
    import evaluate_timeline

    (tmp_path / "section.html").write_text("<h2>Precocity</h2>")
    flags = ["-t", "none.tsv", "-o", str(tmp_path / "page"), "--title", "Mine"]
    assert evaluate_timeline.main([*flags, "--section", str(tmp_path / "section.html")]) == 0
    page = (tmp_path / "page/report.html").read_text()
    assert "<h1>Mine</h1>" in page and "<h2>Precocity</h2>" in page and "Models are not compared" in page
    assert script.read_json(tmp_path / "page/evaluation.json")["arguments"]["title"] == "Mine"
    assert evaluate_timeline.main(flags) == 2
    assert "nothing to show; give embedding folders" in capsys.readouterr().err


def test_campus_is_a_login_node_in_the_example():
    """The transfer node reaches the same disks, but submits nothing."""
    lines = (ROOT / "config.example.mk").read_text()
    assert re.search("Host campus\n#     HostName cc-login.campuscluster.illinois.edu\n", lines)
    assert "cli-dtn.researchdata.illinois.edu" in lines  # named as what it is not


def test_a_place_names_the_folder_that_campus_names():
    args = delta.parse_args(["status", "--at-campus", "--campus", "campus:/my data/x/"])
    place = delta.place_of(args)
    assert isinstance(place, Place) and place.path("y") == "campus:/my data/x/y"

"""delta.py and the job files, as far as they can be checked without a cluster (tests/cluster has the real one)."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import corpus
import delta
import script
from cluster.jobs import Queue, array_of_decades, requested
from cluster.place import Place, shown
from cluster.send import Corpus, training_table

ROOT = Path(__file__).resolve().parents[1]
JOBS = sorted((ROOT / "slurm").glob("*.slurm"))


def arguments(corpus_folder, *flags):
    return delta.parse_args(["train", *corpus_folder.flags, *flags])


def corpus_of(corpus_folder, *flags) -> Corpus:
    return delta.corpus_of(arguments(corpus_folder, *flags))


@pytest.mark.parametrize(
    ("years", "array"),
    [([1790], "179%8"), ([1799, 1801, 1811, 1850], "179-181,185%8"), ([5, 1900, 2019], "0,190,201%8")],
)
def test_the_array_has_a_task_for_each_decade_of_the_metadata(corpus_folder, years, array):
    for year in years:
        corpus_folder.add(f"d{year}", year, 1)
    assert array_of_decades(corpus_of(corpus_folder), str(ROOT / "slurm/precocity.slurm")) == array


def test_the_array_keeps_to_the_years_and_to_what_the_job_file_says(corpus_folder, tmp_path):
    for year in (1790, 1805, 1815):
        corpus_folder.add(f"d{year}", year, 1)
    job = tmp_path / "precocity.slurm"
    job.write_text("#SBATCH --array=1-2%3   # EDIT\n")
    assert array_of_decades(corpus_of(corpus_folder, "-s", "1800"), str(job)) == "180-181%3"
    with pytest.raises(script.InputError, match="has no document of the years asked for"):
        array_of_decades(corpus_of(corpus_folder, "-s", "1900"), str(job))
    corpus_folder.add("old", -40, 1)
    with pytest.raises(script.InputError, match="an array has no negative indices"):
        array_of_decades(corpus_of(corpus_folder), str(job))


def job_words(args, stage):
    """Return the words behind sbatch."""
    queue = Queue(args.account or "", args.partition or "", args.sbatch, args.shards)
    request = requested(stage, args.train, queue, args.flags, delta.corpus_of(args))
    return [*request.sbatch, request.file, *request.flags]


def test_only_what_the_user_set_goes_to_sbatch(corpus_folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert job_words(arguments(corpus_folder), "train") == ["slurm/train_para10.slurm"]
    flags = [
        "--account",
        "me",
        "--sbatch=--time=1:00:00 --comment='two words'",
        "--train",
        "nopara",
        "--",
        "--epochs",
        "3",
    ]
    words = ["--account=me", "--time=1:00:00", "--comment=two words", "slurm/train_nopara.slurm", "--epochs", "3"]
    assert job_words(arguments(corpus_folder, *flags), "train") == words


def test_a_second_model_of_the_same_pairs_takes_their_job_file_or_one_of_its_own(corpus_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    wanted = arguments(corpus_folder, "--train", "para10+timeline", "--", "--recombine", "1")
    words = ["--job-name=train_para10+timeline", "slurm/train_para10.slurm", "-o", "output/models/para10+timeline"]
    assert job_words(wanted, "train") == [*words, "--recombine", "1"]
    assert training_table("para10+timeline") == "paraphrased/para10.tsv"
    assert training_table("nopara+timeline") == "pairs/nopara.tsv"
    with pytest.raises(
        script.InputError, match=r"joined here.* run this with TRAIN=para10 and then TRAIN=para10\+time"
    ):
        delta.check_single("train", "para10+joined")
    delta.check_single("status", "para10+joined")
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm/train_para10+timeline.slurm").touch()
    monkeypatch.chdir(tmp_path)
    assert job_words(wanted, "train") == ["slurm/train_para10+timeline.slurm", "--recombine", "1"]


def test_embedding_is_one_job_or_an_array_of_shards_that_the_user_may_change(corpus_folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    file, shards = "slurm/apply_tuned.slurm", ["--array=1-3", "--output=logs/%x-%A_%a.out"]
    assert job_words(arguments(corpus_folder), "apply") == job_words(arguments(corpus_folder, "--shards", "1"), "apply")
    assert job_words(arguments(corpus_folder), "apply") == [file]
    flags = ("--shards", "3", "--sbatch=--array=1-3%1")
    assert job_words(arguments(corpus_folder, *flags), "apply") == [*shards, "--array=1-3%1", file]
    assert job_words(arguments(corpus_folder, "--shards", "3"), "train") == ["slurm/train_para10.slurm"]


@pytest.mark.parametrize(
    ("partition", "cores"),
    [("gpuH200x8", ["--cpus-per-task=12"]), ("gpuH200x8-interactive", ["--cpus-per-task=12"]), ("gpuA40x4", [])]
    + [("gpuA100x8", []), ("elsewhere", [])],
)
def test_a_partition_with_fewer_cores_a_gpu_is_asked_for_no_more(partition, cores):
    """By Delta's documents; a job that takes more of the cores than of the GPUs pays for the cores."""
    assert Queue(partition=partition).words() == [f"--partition={partition}", *cores]


@pytest.mark.parametrize("words", [["a", "b c"], ["it's"], ["$x", 'say "y"'], ["a\nb", "*"], ["back\\slash!", ""]])
def test_a_command_that_is_shown_can_be_pasted(words):
    pasted = subprocess.run(["bash", "-c", f"printf '%s\\0' {shown(words)}"], capture_output=True, text=True).stdout
    assert pasted.split("\0")[:-1] == words


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_the_users_own_shared_connection_is_taken(tmp_path):
    config = tmp_path / "config"
    config.write_text("Host delta\n  ControlPath ~/.ssh/mine-%C\n")
    own = Place("delta", "/projects/x", f"ssh -F {config}", False)
    folder = tmp_path / "x y"
    folder.mkdir()
    ours = Place("other", str(folder), f"ssh -F {config}", False)
    assert "ControlPersist=8h" not in own.ssh and "ControlPersist=8h" in ours.ssh
    command = ours.command(["sh", "-c", 'pwd; printf "%s|" "$@"', "-", "a b", "$x"])
    assert command[-2] == "other"
    far = subprocess.run(["sh", "-c", command[-1]], capture_output=True, text=True)
    assert far.stdout == f"{folder}\na b|$x|"


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_a_dead_connection_is_noticed(tmp_path):
    """By delta.py's options, and by those of the stanza for whoever opens the connection without make."""
    config = tmp_path / "config"
    config.write_text("\n".join(re.findall(r"^#   (Host .*|  .*)$", (ROOT / "config.example.mk").read_text(), re.M)))
    ours = Place("other", "/projects/x", "ssh -F none", False).login
    for words in ([*ours, "-G", "other"], ["ssh", "-F", config, "-G", "delta"], ["ssh", "-F", config, "-G", "campus"]):
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
        assert {"serveraliveinterval 15", "serveralivecountmax 3"} <= set(said)


def test_a_stock_macs_rsync_is_one_sentence(tmp_path, monkeypatch):
    for said in ("rsync: -s: unknown option", "openrsync: invalid option -- s"):
        (tmp_path / "rsync").write_text(f"#!/bin/sh\necho '{said}' >&2\necho 'usage: rsync' >&2\nexit 1\n")
        (tmp_path / "rsync").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        with pytest.raises(script.InputError, match="install rsync 3 .on a Mac: brew install rsync"):
            Place("delta", "/my projects/x", "ssh", False).rsync([], "here", "there", ["a"])


def test_a_small_file_that_was_cut_off_on_its_way_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Place("", ".", "ssh", False)
    here.write("record", {"name": "Zoë"})
    run = here.run
    monkeypatch.setattr(here, "run", lambda words, text: run(words, text=text[:-3]))
    with pytest.raises(script.InputError):
        here.write("record", {"name": "Zoë", "more": 1})
    assert script.read_json("record") == {"name": "Zoë"}


def test_comments_behind_settings_leave_no_blanks(tmp_path):
    values = {"DELTA": "far", "DELTA_DIR": "/my projects/x", "DELTA_ACCOUNT": "abcd", "DELTA_PARTITION": "gpu"}
    values |= {"CAMPUS": "campus:/data", "SSH": "ssh"}
    config = tmp_path / "config.mk"
    config.write_text("".join(f"{name} = {value}   # mine\n" for name, value in values.items()))
    for target in ("train", "pull-embeddings"):
        said = subprocess.run(
            ["make", "-n", target, f"CONFIG={config}"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert "  '" not in said and " '/my projects/x' " in said
        assert target == "train" or " 'campus:/data' " in said


@pytest.mark.parametrize("action", ["pull-model", "pull-embeddings"])
def test_on_the_cluster_what_is_not_made_yet_is_not_said_to_be_here(action, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert delta.main([action, "--output", str(tmp_path)]) == 2
    assert "make status" in capsys.readouterr().err
    folder = tmp_path / ("models" if action == "pull-model" else "embeddings") / "para10"
    folder.mkdir(parents=True)
    (folder / ("training.json" if action == "pull-model" else "manifest.json")).write_text("{}")
    assert delta.main([action, "--output", str(tmp_path)]) == 0


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.name)
def test_job_files_are_short_sound_and_have_one_block_to_edit(job):
    text = job.read_text()
    assert text.startswith("#!/bin/bash\n") and text.count("\n") < 70
    assert text.count("# ---- edit here ----") == 1 and f"#SBATCH --job-name={job.stem}\n" in text
    memory = "6g" if job.stem == "precocity" else "58g"
    assert "--output=logs/" in text and re.search(f"^#SBATCH --mem={memory}", text, re.MULTILINE)
    subprocess.run(["bash", "-n", job], check=True)


@pytest.mark.parametrize(
    "job", [job for job in JOBS if job.stem.startswith(("train", "apply", "precocity"))], ids=lambda path: path.name
)
def test_job_files_call_scripts_with_flags_they_have(job):
    """The job file prints the command it would run; the script must understand every word of it."""
    import Apply_Tuned_Model
    import calc_precocity_for_embeddings
    import TuneEmbeddings

    environment = {"PATH": "/usr/bin:/bin", "SHOW_COMMAND": "yes", "SLURM_ARRAY_TASK_ID": "179", "HOME": "/"}
    environment |= {"SLURM_ARRAY_TASK_MIN": "178", "SLURM_ARRAY_TASK_COUNT": "4"}  # as in --array=178-181
    plain = (ROOT / "slurm/environment.sh").read_text().replace('MODULES="pytorch-conda/2.12"', 'MODULES=""')
    script = job.read_text().replace(". slurm/job.sh", 'eval "$(sed "/environment.sh/d" slurm/job.sh)"')
    shown = subprocess.run(
        ["bash", "-c", f"{plain}\n{script}"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    words = shown.stdout.splitlines()
    modules = (TuneEmbeddings, Apply_Tuned_Model, calc_precocity_for_embeddings)
    module = {f"{module.__name__}.py": module for module in modules}[words[2]]
    args = module.parse_args(words[3:])
    if module is TuneEmbeddings:
        set_ = job.stem.removeprefix("train_")
        assert args.outputdir == f"output/models/{set_}" and args.resume and set_ in args.datasource
    elif module is Apply_Tuned_Model:
        assert args.shard == (2, 4) and args.modelpath.endswith("/final")
    else:
        assert args.year == [*range(1790, 1800)] and args.data == "output/embeddings/para10" and args.enddate == 2010


def test_a_finished_training_or_corpus_is_checked_without_work(corpus_folder, tiny_encoder, tmp_path, capsys):
    import Apply_Tuned_Model
    import TuneEmbeddings

    corpus_folder.add("a", 1900, 3).add("b", 1910, 3)
    rows = [dict(zip(corpus.PAIR_COLUMNS, (f"d{i}", 1900, f"w{i}", f"w{i + 1}", "successive"))) for i in range(20)]
    corpus.write_pairs(tmp_path / "pairs.tsv", rows)
    flags = ["-d", str(tmp_path / "pairs.tsv"), "-o", str(tmp_path / "model"), "--eval-fraction", "0.3", "--check"]
    assert TuneEmbeddings.main([*flags, "--base-model", str(tiny_encoder)]) == 0
    assert TuneEmbeddings.main([*flags, "--base-model", "no/such-model"]) == 2
    flags = ["-m", "not/yet", "-o", str(tmp_path / "vectors"), *corpus_folder.flags, "--shard", "1/2", "--check"]
    assert Apply_Tuned_Model.main(flags) == 0
    assert not (tmp_path / "model").exists() and not (tmp_path / "vectors").exists()
    for path in corpus_folder.chunks.iterdir():
        path.unlink()
    assert Apply_Tuned_Model.main(flags) == 2
    assert "has no chunk file of the 2 documents" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["para20_e3", "para", "para-10", "../x", "Para10", ""])
def test_a_model_of_another_name_is_refused_everywhere(name, capsys):
    with pytest.raises(SystemExit):
        delta.parse_args(["train", "--train", name])
    assert "is none of para10, para20" in capsys.readouterr().err
    if name:
        said = subprocess.run(["make", "settings", f"TRAIN={name}"], cwd=ROOT, capture_output=True, text=True).stderr
        assert f"TRAIN is '{name}'; it is para10" in said


def test_a_machine_without_modules_says_what_to_edit(tmp_path):
    """As on a campus cluster; a job used to end there without a word."""
    text = (ROOT / "slurm/environment.sh").read_text().replace("/etc/profile", "/dev/null")
    (tmp_path / "environment.sh").write_text(text)
    script = "set -eo pipefail; unset -f module; . ./environment.sh; echo reached"
    done = subprocess.run(["bash", "--norc", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "reached" not in done.stdout
    assert "there are no modules on" in done.stderr and 'set MODULES="" in that file' in done.stderr

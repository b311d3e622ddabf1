"""All stages through make on a tiny corpus, with a tiny real encoder and a real HTTP server."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from openai_server import shorten
from test_layout import FILES, modules_imported_by

import corpus
import script
import stamp

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def make(word_corpus, tiny_encoder, server, tmp_path, request):
    """Return a function that runs make with settings for the tiny corpus; its .config is the settings file."""
    slow = request.node.get_closest_marker("slow")
    python = shlex.join(request.getfixturevalue("warm_python")) if slow else sys.executable
    config = tmp_path / "tiny.mk"
    config.write_text(
        f"METADATA = {word_corpus.metadata}\nCHUNKS = {word_corpus.chunks}\nOUTPUT = {tmp_path}/output\n"
        f"BASE_MODEL = {tiny_encoder}\nPYTHON = {python}\nTRAIN ?= para20\nPARAPHRASE_SET = para20\n"
        f"PAIRS_PER_YEAR = 50\nPAIRS_FLAGS = --level-quantile 1\n"
        f"PARAPHRASE_FLAGS = --base-url {server.url} --model tiny --concurrency 1\n"
        "TUNE_FLAGS = --epochs 1 --batch-size 8 --eval-fraction 0.4 --device cpu\nAPPLY_FLAGS = --device cpu\n"
    )

    def run(*words, check=True):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        result = subprocess.run(
            ["make", f"CONFIG={config}", *words], cwd=ROOT, capture_output=True, text=True, env=environment
        )
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    run.config, run.output, run.python = config, tmp_path / "output", python
    return run


SCRIPTS = (
    "select_training_pairs_final select_training_pairs_no_paraphrase synthetic_data_generator TuneEmbeddings "
    "Apply_Tuned_Model calc_precocity_for_embeddings report_precocity evaluate_timeline"
).split()


def ran(said: str) -> list[str]:
    """Return the scripts that make ran, in the order of the pipeline."""
    return sorted(re.findall(rf"({'|'.join(SCRIPTS)})\.py ", said), key=SCRIPTS.index)


@pytest.mark.slow
def test_from_texts_to_report_and_then_nothing_is_left_to_do(make, server):
    make("-j4", "pairs", "pairs-no-paraphrase", "report")
    output = make.output
    pairs, paraphrased = (corpus.read_pairs(output / f"{stage}/para20.tsv") for stage in ("pairs", "paraphrased"))
    plain = corpus.read_pairs(output / "pairs/nopara.tsv")
    flagged = [row for row in pairs if row["category"] in ("single-synthetic", "synthetic-pair")]
    assert len(pairs) == len(paraphrased) == len(plain) and len(flagged) == round(0.2 * len(pairs)) > 0
    assert len(server.requests) == len(flagged)
    manifest = json.loads((output / "embeddings/para20/manifest.json").read_text())
    assert manifest["passages"] == 24 * 12 and len(manifest["decades"]) == 6
    measured = json.loads((output / "report/para20/evaluation.json").read_text())["measured"]
    assert measured["base"] != measured["para20"]

    assert ran(make("pairs", "pairs-no-paraphrase", "report").stdout) == []
    assert len(server.requests) == len(flagged)

    shown = make("report", "TRAIN=nopara")  # another model's report, not the one that is there
    assert "TuneEmbeddings" in shown.stdout and "report/nopara/report.html" in shown.stdout
    assert "TuneEmbeddings" not in make("report").stdout
    make("clean")
    assert sorted(path.name for path in output.iterdir()) == ["models", "paraphrased"]
    cost = make("clean-paid").stdout
    assert f"{len(flagged)} paid replies, {15 * len(flagged)} tokens" in cost and "minutes of training" in cost
    assert "Nothing deleted" in cost and (output / "models/para20/training.json").exists()
    make("report")  # everything cheap is made again, nothing is paid for or trained again
    assert len(server.requests) == len(flagged)
    make("clean-paid", "CONFIRM=yes")
    assert not (output / "paraphrased").exists() and not (output / "models").exists()
    mine = output / "mine"  # EXPERIMENT names it by mistake; the runs alone are deleted, in folders with a seed
    for name in ("notes.txt", "nopara-seed0/training.json"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("{}")
    make("clean-paid", f"EXPERIMENT={mine}", "CONFIRM=yes")
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_the_experiment_tunes_every_set_with_every_seed_once(make, server):
    words = ("experiment", "EXPERIMENT_SETS=nopara", "EXPERIMENT_SEEDS=0 1")
    make(*words)
    folder = make.output / "experiment"
    found = json.loads((folder / "report/evaluation.json").read_text())
    assert len(set(found["measured"]["nopara"]["timeline_rho"]["runs"])) == 2 and server.requests == []
    yardsticks = ["base, centered", "base, normalized means", "latent semantic analysis"]
    gains = [(name, other) for name in ("nopara", "nopara, normalized means") for other in yardsticks]
    assert [(one["of"], one["less"]) for one in found["differences"]] == gains
    seeds = [script.read_json(folder / f"nopara-seed{seed}/training.json")["recipe"]["seed"] for seed in (0, 1)]
    assert seeds == [0, 1]
    again = make(*words).stdout
    assert "TuneEmbeddings" not in again and "evaluate" not in again
    assert ran(make("experiment", "EXPERIMENT_SETS=nopara", "EXPERIMENT_SEEDS=0").stdout) == ["evaluate_timeline"]
    found = json.loads((folder / "report/evaluation.json").read_text())
    assert len(found["measured"]["nopara"]["timeline_rho"]["runs"]) == 1  # what the other seed left is not counted
    whole = make("experiment", "EXPERIMENT_SETS=nopara", "EXPERIMENT_SEEDS=0", "EXPERIMENT_EMBEDS=all").stdout
    assert ran(whole) == ["Apply_Tuned_Model", "Apply_Tuned_Model", "evaluate_timeline"]
    held = script.read_json(folder / "nopara-seed0/training.json")["held_out_documents"]
    for one in ("base", "nopara-seed0/embeddings"):  # with the documents trained on, as make report has them
        paper_ids = {paper_id for found, *_ in corpus.each_decade(folder / one) for paper_id in found}
        assert paper_ids > set(held)
    make("clean")
    assert (folder / "nopara-seed1/final").exists() and not (folder / "report").exists()


@pytest.mark.slow
def test_the_grid_measures_each_variant_and_repeats_nothing(make):
    folder = make.output / "grid/split-1"
    words = [f"CONFIG={make.config}", "-o", f"{make.output}/grid", "--seeds", "0", "--variants", "default", "scale-40"]

    def benchmark(script, *words):
        result = subprocess.run(
            [sys.executable, f"benchmarks/{script}.py", *words], cwd=ROOT, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result

    _, measured, differences = benchmark("tuning_grid", *words, "--splits", "1").stdout.strip().split("\n\n")
    names = [[line.split("|")[1].strip() for line in table.splitlines()[2:]] for table in (measured, differences)]
    variants, words_alone = ["nopara", "nopara+scale-40"], "latent semantic analysis"
    shown = [f"{name}{how}" for name in ("base", *variants) for how in ("", ", centered", ", normalized means")]
    yardsticks = ["base, centered", "base, normalized means", words_alone]
    models = [name + how for name in variants for how in ("", ", normalized means")]
    gains = [f"{name} less {other}" for name in models for other in yardsticks]
    assert names == [[*shown, words_alone], [*gains, "nopara+scale-40 less nopara"]]
    recipes = [script.read_json(folder / f"{name}-seed0/training.json")["recipe"] for name in variants]
    assert [(recipe["scale"], recipe["split_seed"]) for recipe in recipes] == [(20, 1), (40, 1)]
    models = {path: path.stat().st_mtime_ns for path in make.output.rglob("model.safetensors")}
    again = benchmark("tuning_grid", *words, "--splits", "1").stderr
    assert ".py" not in again.replace("tuning_grid.py", "")
    assert models == {path: path.stat().st_mtime_ns for path in make.output.rglob("model.safetensors")}
    picture = make.output / "across.png"
    table = benchmark("across", f"tiny={make.output}/grid", "--picture", str(picture)).stdout.strip().split("\n\n")[1]
    short = [name.replace("nopara", "tuned") for name in (*names[0], *names[1])]
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == short
    assert picture.read_bytes().startswith(b"\x89PNG")
    sets = ("EXPERIMENT_SETS=nopara nopara+scale-40", "EXPERIMENT_SEEDS=0", f"EXPERIMENT={folder}")
    flags = ("EXPERIMENT_SPLIT=1", "TUNE_FLAGS_scale-40=--scale 10 --overwrite")
    assert ran(make("experiment", *sets, *flags).stdout) == ["TuneEmbeddings", "Apply_Tuned_Model", "evaluate_timeline"]


@pytest.mark.slow
def test_the_grid_joins_the_vectors_of_each_seed(make):
    words = [f"CONFIG={make.config}", "-o", f"{make.output}/grid", "--seeds", "0", "1", "--variants", "lsa", "joined"]
    result = subprocess.run(
        [sys.executable, "benchmarks/tuning_grid.py", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    folder = make.output / "grid"
    found = script.read_json(folder / "report/evaluation.json")["measured"]
    names = ["nopara", "nopara+timeline", "nopara+lsa", "nopara+joined"]
    assert [name for name in found if name.startswith("nopara") and "," not in name] == names
    assert len(found["nopara+joined"]["timeline_rho"]["runs"]) == 2
    for seed in (0, 1):
        first, second = (str(folder / f"{name}-seed{seed}/embeddings") for name in ("nopara", "nopara+timeline"))
        for name, other in (("nopara+lsa", str(folder / "lsa")), ("nopara+joined", second)):
            joined = script.read_json(folder / f"{name}-seed{seed}/embeddings/manifest.json")
            assert joined["arguments"]["folders"] == [first, other]
    recipe = script.read_json(folder / "nopara+timeline-seed1/training.json")["recipe"]
    assert (recipe["recombine"], recipe["seed"]) == (1, 1)
    again = make(
        "experiment", f"EXPERIMENT={folder}", "EXPERIMENT_SETS=nopara+lsa nopara+joined", "EXPERIMENT_SEEDS=0 1"
    )
    assert ran(again.stdout) == []


@pytest.mark.slow
def test_a_second_model_of_the_same_pairs_stands_beside_the_first(make, server):
    make("precocity", "TRAIN=nopara")
    before = {path: path.stat().st_mtime_ns for path in (make.output / "models/nopara").rglob("*") if path.is_file()}
    said = make("precocity", "TRAIN=nopara+timeline").stdout
    assert ran(said) == ["TuneEmbeddings", "Apply_Tuned_Model", "calc_precocity_for_embeddings", "report_precocity"]
    assert f"--beside nopara={make.output}/precocity/nopara" in said
    assert before == {path: path.stat().st_mtime_ns for path in before}
    recipes = [script.read_json(make.output / f"models/{name}/recipe.json") for name in ("nopara", "nopara+timeline")]
    assert [recipe["recombine"] for recipe in recipes] == [0, 1]
    assert recipes[0]["pairs_sha256"] == recipes[1]["pairs_sha256"] and server.requests == []
    assert ran(make("precocity", "TRAIN=nopara+timeline").stdout) == []
    make("report", "TRAIN=nopara+timeline")
    measured = script.read_json(make.output / "report/nopara+timeline/evaluation.json")["measured"]
    assert {"base", "nopara", "nopara+timeline"} < set(measured)
    words = ("precocity", "report", "TRAIN=nopara+joined")
    said = make(*words).stdout
    assert "join_embeddings.py" in said
    assert ran(said) == ["calc_precocity_for_embeddings", "report_precocity", "evaluate_timeline"]
    evaluation = script.read_json(make.output / "report/nopara+joined/evaluation.json")
    assert {"base", "nopara", "nopara+timeline", "nopara+joined"} < set(evaluation["measured"])
    page = (make.output / "report/nopara+joined/report.html").read_text()
    assert f"joined with those of {make.output}/models/nopara+timeline/final (0.3 of the cosine)" in page
    assert ran(make(*words).stdout) == []
    said = make(*words, "JOIN_FLAGS=--share 0.5").stdout
    assert "join_embeddings.py" in said and "TuneEmbeddings" not in ran(said)
    assert corpus.read_manifest(make.output / "embeddings/nopara+joined")["joined"]["share"] == 0.5
    said = make("precocity", "report", "TRAIN=nopara+lsa").stdout
    assert "fit_lsa.py" in said and "join_embeddings.py" in said and "TuneEmbeddings" not in ran(said)
    page = (make.output / "report/nopara+lsa/report.html").read_text()
    assert "joined with those of latent semantic analysis (0.3 of the cosine)" in page
    manifest = corpus.read_manifest(make.output / "lsa/nopara")
    held = script.read_json(make.output / "models/nopara/training.json")["held_out_documents"]
    assert manifest["held_out_documents"] == held
    assert ran(make("precocity", "report", "TRAIN=nopara+lsa").stdout) == []
    said = make("report", "TRAIN=base").stdout  # nothing was tuned, so its page has precocity alone
    assert "TuneEmbeddings" not in ran(said) and "calc_precocity_for_embeddings" in ran(said)
    assert "Ahead of their time" in (make.output / "report/base/report.html").read_text()
    other = ("precocity", "TRAIN=nopara+timeline", "TUNE_FLAGS_timeline=--recombine 2")
    assert "recombine 1 → 2" in make(*other).stderr  # a finished model is kept, and make says so


@pytest.mark.slow
def test_a_finished_model_stays_when_python_crashes_after_it(make, tmp_path):
    make("train-local", "TRAIN=nopara")
    record = make.output / "models/nopara/training.json"
    crashing = tmp_path / "python"
    crash = f'case "$*" in TuneEmbeddings*) touch {record}; kill -SEGV $$;; esac'
    crashing.write_text(f'#!/bin/sh\n{crash}\nexec {make.python} "$@"\n')
    crashing.chmod(0o755)
    again = make("train-local", "TRAIN=nopara", f"PYTHON={crashing}", "TUNE_FLAGS=--epochs 3", check=False)
    assert again.returncode == 2 and "TuneEmbeddings.py" in again.stdout and record.exists()


@pytest.mark.slow
def test_a_model_without_paraphrase_needs_no_server(make, server):
    make("apply-local", "TRAIN=nopara")
    assert (make.output / "embeddings/nopara/manifest.json").exists() and server.requests == []
    assert "calc_precocity" in make("precocity", "TRAIN=nopara").stdout
    folder = make.output / "precocity/nopara"
    assert len((folder / "1900s_docs.tsv").read_text().splitlines()) == 1 + 24 * 48
    assert "24 documents have no value" in (folder / "section.html").read_text()  # ten documents in twenty years
    assert "python" not in make("precocity", "TRAIN=nopara").stdout
    make("topics", "TRAIN=nopara", "TOPICS_FLAGS=--topics 2 --iterations 5")
    words, own = ("report", "TRAIN=nopara", "PRECOCITY=no"), make.output / "report/nopara/topics"
    for count in (2, 3):  # make topics fitted two; of three topics, the report fits a model of its own
        make(*words, f"REPORT_FLAGS=--draws 20 --topics {count} --topic-iterations 5")
        shown = script.read_json(own.with_name("evaluation.json"))["measured"]
        assert f"{count} topics" in shown and own.exists() == (count == 3)


@pytest.mark.slow
def test_a_topic_model_is_measured_by_divergence_and_stands_beside_the_others(make, server):
    measured, words = SCRIPTS[5:7], ("precocity", "TOPICS_FLAGS=--topics 3 --iterations 5")
    said = make(*words, "TRAIN=topics").stdout
    assert "fit_topics.py" in said and ran(said) == measured and server.requests == []
    assert "--distance kl" in said and "--beside" not in said
    assert ".py" not in make(*words, "TRAIN=topics").stdout.replace("stamp.py", "")
    said = make(*words, "TRAIN=base").stdout
    assert "--distance" not in said and f"--beside topics={make.output}/precocity/topics" in said
    assert ran(make(*words, "TRAIN=base").stdout) == []
    said = make("precocity", "TOPICS_FLAGS=--topics 2 --iterations 5", "TRAIN=topics").stdout
    assert "fit_topics.py" in said and ran(said) == measured
    assert ran(make(*words[:1], "TOPICS_FLAGS=--topics 2 --iterations 5", "TRAIN=base").stdout) == measured[1:]


def all_imports(module: str) -> set[str]:
    """Return the project's modules that a module imports, and those that they import."""
    imported = modules_imported_by(module)
    return imported.union(*(all_imports(other) for other in imported))


@pytest.mark.parametrize("script", [*SCRIPTS, "fit_topics", "draw_map"])
def test_a_change_of_any_module_that_a_script_imports_reruns_its_stage(make, script):
    rules = make("-pn", "settings").stdout
    prerequisites = re.search(rf"^\S+/\S+: (?:.* )?{script}\.py .*", rules, re.MULTILINE)[0].split()
    assert {str(FILES[module].relative_to(ROOT)) for module in all_imports(script)} <= set(prerequisites)


@pytest.fixture
def after(make, server):
    """Return a function that changes the settings and says which scripts make then runs; nothing is paid for twice."""

    def after(settings="", *words):
        make.config.write_text(make.config.read_text() + settings + "\n")
        return ran(make("precocity", "report", *words).stdout)

    pairs, _, generator, tune, apply, precocity, pictures, report = SCRIPTS
    assert after("REPORT_FLAGS = --draws 20") == [pairs, generator, tune, apply, apply, precocity, pictures, report]
    assert "section.html" in (make.output / "report/para20/evaluation.json").read_text()  # precocity is on the page
    assert after("# a comment") == []
    yield after
    asked = [json.dumps(request.get("messages")) for request in server.requests]
    assert len(asked) == len(set(asked))


def put(path, text):
    """Write a file with a time of the year 2001, as cp -p or tar would."""
    path.write_text(text)
    os.utime(path, (1e9, 1e9))


@pytest.mark.slow
def test_a_change_of_settings_reruns_the_stages_it_steers_and_no_other(after, make, tmp_path):
    pairs, _, generator, tune, apply, precocity, pictures, report = SCRIPTS
    excluded, prompts = tmp_path / "excluded.tsv", tmp_path / "prompts.toml"
    put(excluded, "doc00\tdoc05\n")
    put(prompts, (ROOT / "prompts.toml").read_text())
    assert after('REPORT_FLAGS = --draws 20 --title "Novels, 1900–1960; a reader\'s view"') == [report]
    assert after("PRECOCITY_REPORT_FLAGS = --fraction 1") == [pictures, report]
    assert after(f"PRECOCITY_FLAGS = --articleexclude={excluded} -s 1910") == [precocity, pictures, report]
    put(excluded, "doc08\tdoc10\n")
    assert after("# an exclusion file") == [precocity, pictures]  # the section comes out the same
    assert after(f"PARAPHRASE_FLAGS += --prompts {prompts}") == [generator]
    put(prompts, prompts.read_text() + "# a comment\n")
    assert after("# a prompt file") == [generator]
    assert after("APPLY_FLAGS = --device cpu --batch-size 16") == [apply, apply]
    assert after("TUNE_FLAGS += --epochs 2") == [tune, report]  # a finished model is kept, and the page says so
    assert "epochs 1 → 2" in (make.output / "report/para20/report.html").read_text()


@pytest.mark.slow
def test_a_change_of_the_corpus_reruns_what_is_made_of_it(after, make, word_corpus):
    pairs, _, generator, tune, apply, precocity, pictures, report = SCRIPTS
    chosen = (make.output / "pairs/para20.tsv").read_text()
    chunks = {path: path.read_text() for path in word_corpus.chunks.iterdir()}
    path, line = next((p, line) for p in chunks for line in chunks[p].splitlines() if line.split("\t")[1] not in chosen)
    put(path, chunks[path].replace(line, line + " w1"))
    assert after() == [pairs, apply, apply, precocity, pictures, report]
    rows = word_corpus.metadata.read_text().splitlines()
    put(word_corpus.metadata, "\n".join([rows[0] + "\ttitle", *(row + "\tA title" for row in rows[1:])]))
    assert after() == [precocity, pictures, report]
    everything = [pairs, generator, tune, apply, apply, precocity, pictures, report]
    put(word_corpus.metadata, "\n".join(rows).replace("doc08\t1920", "doc08\t1921"))
    assert after("TUNE_FLAGS += --overwrite") == everything
    put(word_corpus.metadata, "\n".join(row for row in rows if "doc08" not in row))
    assert after() == everything
    assert after("START_YEAR = 1910") == everything
    for name in ("base", "para20"):
        manifest = script.read_json(make.output / f"embeddings/{name}/manifest.json")
        assert [record["decade"] for record in manifest["decades"]] == list(range(1910, 1960, 10))
    assert [path.name for path in (make.output / "precocity/para20").glob("*s_docs.tsv")] == ["1910s_docs.tsv"]
    assert after() == []


@pytest.mark.slow
def test_work_done_by_hand_or_elsewhere_is_taken_as_it_is(after, make, tiny_encoder):
    pairs, _, generator, tune, apply, precocity, pictures, report = SCRIPTS
    model, table = make.output / "models/para20", make.output / "paraphrased/para20.tsv"
    shutil.rmtree(make.output / "settings")  # products of which make knows nothing
    assert after() == []
    pulled = shutil.copytree(model, make.output.parent / "pulled")
    by_hand = f"-d {table} -o {model} --base-model {tiny_encoder} --epochs 2 --batch-size 8 --device cpu --overwrite"
    words = [*make.python.split(), "TuneEmbeddings.py", *by_hand.split(), "--eval-fraction", "0.4"]
    subprocess.run(words, cwd=ROOT, check=True)
    assert after() == [apply, precocity, pictures, report]
    assert after('REPORT_FLAGS = --title "Another"') == [report]
    shutil.rmtree(model)
    shutil.copytree(pulled, model)  # older than all that it was trained from
    os.utime(model / "training.json", (1e9, 1e9))
    assert after() == [tune, apply, precocity, pictures, report]
    (make.output / "embeddings/para20/1930.parquet").unlink()
    assert after() == [apply, precocity, report]
    put(table, table.read_text().replace("s.", "s indeed.", 1))
    assert "other pairs" in make("report", check=False).stderr  # the model of the old ones is not retrained unasked
    assert after("TUNE_FLAGS += --overwrite")[:2] == [tune, apply]


def test_a_stop_while_paraphrasing_loses_no_paid_reply(make, server):
    server.reply = lambda request: (time.sleep(0.1), shorten(request))[1]
    make("pairs")
    running = subprocess.Popen(
        ["make", f"CONFIG={make.config}", "paraphrase"], cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL
    )
    while len(server.requests) < 4:
        assert running.poll() is None
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    journal = make.output / "paraphrased/para20.tsv.journal.jsonl"
    kept = journal.read_text().count("\n")
    assert kept >= 3 and not (make.output / "paraphrased/para20.tsv").exists()
    server.requests.clear()
    make("paraphrase")
    flagged = sum(row["category"] in ("single-synthetic", "synthetic-pair") for row in corpus.read_pairs(
        make.output / "pairs/para20.tsv"))  # fmt: skip
    assert len(server.requests) == flagged - kept


@pytest.mark.slow
def test_precocity_that_is_killed_again_and_again_ends_with_the_same_files(make):
    """SIGKILL to make and all that it runs, amid years, table, and page: no year is made again, and nothing is left."""
    words = ["precocity", "TRAIN=base", f"PYTHON={sys.executable}"]  # not warm: its scripts would survive
    make(*words)
    folder, whole = make.output / "precocity/base", make.output / "uninterrupted"
    folder.rename(whole)

    def files(of=folder):
        return {path.relative_to(of): path for path in of.rglob("*") if path.is_file()}

    def finished():
        return {path: path.stat().st_mtime_ns for path in folder.glob("years/*.json")}

    earlier, moments = {}, set()
    for count in (1, 5, 6, 7, 40, 60, 70, 71, 72, 73, 74):  # files that are there, a half-written one among them
        running = subprocess.Popen(["make", f"CONFIG={make.config}", *words], cwd=ROOT, start_new_session=True)
        while running.poll() is None and len(files()) < count:
            time.sleep(0.003)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert earlier.items() <= finished().items()
        earlier = finished()
        moments.add((len(earlier), len(files())))
    make(*words)
    assert "python" not in make(*words).stdout and len(moments) > 5
    assert files().keys() == files(whole).keys()
    for name, path in files().items():  # records say how many seconds it took
        assert name.suffix == ".json" or path.read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_every_change_of_the_corpus_is_noticed_whatever_its_time_and_nothing_else_is(make, word_corpus, tmp_path):
    """What make pairs reads: names, sizes, and times of chunk files, behind links too; columns of the metadata."""
    metadata, chunks = word_corpus.metadata, word_corpus.chunks
    elsewhere, original = tmp_path / "elsewhere.txt", metadata.read_text()
    (chunks / "doc05.txt").rename(elsewhere)
    (chunks / "doc05.txt").symlink_to(elsewhere)
    chunks.rename(tmp_path / "disk")
    chunks.symlink_to(tmp_path / "disk")

    def noticed():
        found = ran(make("pairs").stdout) == ["select_training_pairs_final"]
        assert ran(make("pairs").stdout) == []
        return found

    assert noticed()
    put(elsewhere, elsewhere.read_text().replace("w1", "w2"))
    assert noticed()
    (chunks / "doc07.txt").unlink()
    assert noticed()
    (chunks / ".DS_Store").write_text("a Mac's")
    assert not noticed()
    put(metadata, original.replace("\n", "\tA title\n").replace("A title", "title", 1))
    assert not noticed()
    put(metadata, original.replace("doc03", "doc99"))
    assert noticed()
    make.config.write_text(make.config.read_text() + "END_YEAR = 1950\n")
    assert noticed()


def test_a_word_of_flags_that_happens_to_be_a_folders_name_names_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/a.txt").write_text("a")
    for flags, folders in (("--prompt-set demo", 0), ("-r ./demo", 1), ("-r=demo/", 1)):
        stamp.main("note.txt", f"X_FLAGS = {flags}")
        assert (tmp_path / "note.txt").read_text().count(" 1 files ") == folders


def test_a_stamp_is_first_as_old_as_what_it_names_then_as_new_as_the_change_and_never_in_the_future(tmp_path):
    named, note = tmp_path / "prompts.toml", tmp_path / "settings/stage.txt"

    def age(setting):
        stamp.main(str(note), setting)
        return note.stat().st_mtime

    put(named, "one")
    assert age(f"SOME_FLAGS = --prompts={named} --title 'not there'") == 1e9
    assert age(f"SOME_FLAGS = --prompts={named} --title 'not there'") == 1e9
    put(named, "two")
    started = time.time() - 1
    assert age(f"SOME_FLAGS = --prompts={named} --title 'not there'") > started
    note.unlink()
    os.utime(named, (4e9, 4e9))
    assert started < age(f"SOME_FLAGS = {named}") <= time.time()
    note.unlink()
    assert age("SEED = 0") == stamp.LONG_AGO / 1e9


@pytest.mark.slow
def test_pairs_without_paraphrase_match_the_set_that_is_named_not_the_newest(make):
    make("pairs", "TRAIN=para10", "PARAPHRASE_SET=para10")
    make("pairs", "pairs-no-paraphrase")
    plain = make.output / "pairs/nopara.tsv.json"
    assert ran(make("pairs-no-paraphrase").stdout) == []
    assert ran(make("pairs-no-paraphrase", "PARAPHRASE_SET=para10").stdout) == ["select_training_pairs_no_paraphrase"]
    assert script.read_json(plain)["arguments"]["match"].endswith("para10.tsv")


def test_a_map_shows_the_precocity_that_is_there_and_stands_in_the_report_once_drawn(make):
    drawn, section = make.output / "map/nopara/map.html", f"--section {make.output}/map/nopara/section.html"
    precocity = f"--precocity {make.output}/precocity/nopara"
    assert "draw_map" not in make("-n", "report", "TRAIN=nopara").stdout
    assert precocity not in make("-n", "map", "TRAIN=nopara", "MAP_FLAGS=--passages 0").stdout
    drawn.parent.mkdir(parents=True)
    drawn.touch()
    said = make("-n", "precocity", "report", "TRAIN=nopara", "MAP_FLAGS=--passages 0").stdout
    assert re.search(rf"draw_map\.py .*{precocity} .*--passages 0 .*evaluate_timeline\.py .*{section}", said, re.DOTALL)


def test_chunk_files_are_read_alike_in_every_stage(make):
    commands = make("-n", "precocity", "report", "TRAIN=nopara", "CORPUS_FLAGS=--encoding-errors replace").stdout
    reading = [command for command in re.split(r"(?<!\\)\n", commands) if re.search(r" -r /|calc_precocity", command)]
    assert len(reading) == 8 and all("--encoding-errors replace" in command for command in reading)


def test_one_make_report_shows_precocity_too_unless_it_is_left_out(make):
    """The first time, too, with nothing made before. CAMPUS measures precocity elsewhere."""
    measured = SCRIPTS[5:]
    said = make("-n", "report", "TRAIN=nopara").stdout
    assert ran(said)[-3:] == measured and f"--section {make.output}/precocity/nopara/section.html" in said
    for words in (["PRECOCITY=no"], ["CAMPUS=campus:/x"]):
        said = make("-n", "report", "TRAIN=nopara", *words).stdout
        assert not set(measured[:2]) & set(ran(said)) and "--section" not in said and ran(said)[-1] == measured[2]
        assert ran(make("-n", "precocity", "report", "TRAIN=nopara", *words).stdout)[-3:] == measured


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_odd_characters_in_values_arrive_as_they_are(make, end):
    title = "REPORT_FLAGS = --title 'What $$5 buys: \\# 1, \"so to say\"' \\"
    with open(make.config, "a", newline="") as config:
        config.write(end.join(["END_YEAR = 1950", title, "  --draws 20", ""]))
    assert ran(make("pairs").stdout) == ["select_training_pairs_final"]
    said = make("-n", "report", "TRAIN=nopara").stdout
    assert "-e 1950 " in said and "\r" not in said
    line = re.search(r"evaluate_timeline\.py .*--seed 0 .*?(--title.*) -o", said, re.DOTALL)[1]
    assert shlex.split(line) == ["--title", 'What $5 buys: # 1, "so to say"', "--draws", "20"]


def test_a_comment_behind_a_value_does_no_harm(make):
    make.config.write_text(make.config.read_text() + f"OUTPUT = {make.output}  # mine\nTRAIN = para20  # too\n")
    assert f"rm -rf {make.output}/pairs {make.output}/embeddings" in make("-n", "clean").stdout
    make("pairs")
    assert (make.output / "pairs/para20.tsv").exists()


def test_nothing_is_paraphrased_for_the_model_without(make, server):
    assert "nothing to paraphrase" in make("paraphrase", "TRAIN=nopara").stdout and server.requests == []


@pytest.mark.slow
def test_a_failing_stage_fails_make_and_leaves_no_target(make, server):
    server.reply = lambda request: "Sure, here it is."
    result = make("paraphrase", check=False)
    assert result.returncode != 0 and "lack a paraphrase" in result.stderr
    assert not (make.output / "paraphrased/para20.tsv").exists()


@pytest.mark.slow
def test_a_changed_settings_file_makes_the_pairs_anew(make):
    make("pairs")
    assert "select_training" not in make("pairs").stdout
    make.config.write_text(make.config.read_text() + "PAIRS_PER_YEAR = 1\n")
    assert "select_training_pairs_final.py 1 " in make("pairs").stdout
    assert "--seed 3" in make("pairs", "SEED=3").stdout  # and so does a setting on the command line
    make.config.write_text(make.config.read_text() + "# a comment\n")
    assert "select_training" not in make("pairs", "SEED=3").stdout


@pytest.mark.parametrize(("name", "share"), [("para5", 0.05), ("para07", 0.07), ("para20", 0.2), ("para080", 0.8)])
def test_the_number_in_a_models_name_is_its_percentage_of_paraphrase(make, name, share):
    make("pairs", f"TRAIN={name}", f"PARAPHRASE_SET={name}", "PAIRS_FLAGS=")
    rows = corpus.read_pairs(make.output / f"pairs/{name}.tsv")
    flagged = sum(row["category"] in ("single-synthetic", "synthetic-pair") for row in rows)
    assert abs(flagged - share * len(rows)) <= 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["pairs", "METADATA=nowhere.tsv"], "There is no nowhere.tsv and no rule to make it"),
        (["pears"], "There is no pears and no rule to make it"),
        (["pairs", "CONFIG=nowhere.mk"], "CONFIG=nowhere.mk does not exist"),
        (
            ["pairs", "TRAIN=paraxx", "PARAPHRASE_SET=paraxx"],
            "TRAIN is 'paraxx'; it is para10, para20 …, nopara, base or topics",
        ),
        (["report", "TRAIN=para10+long"], "+long needs flags of its own: TUNE_FLAGS_long = … in"),
        (
            ["report", "TRAIN=base+timeline"],
            "TRAIN is 'base+timeline'; it is para10, para20 …, nopara, base or topics, or one of",
        ),
        (["experiment", "EXPERIMENT_EMBEDS=All"], "EXPERIMENT_EMBEDS is 'All'; it is one of: held-out all"),
        (["report", "PRECOCITY=Yes"], "PRECOCITY is 'Yes'; it is one of: yes no"),
        (["clean", "OUTPUT="], "OUTPUT is ''; it must be one name without spaces"),
        (["pairs", "METADATA=my file.tsv"], "METADATA is 'my file.tsv'; it must be one name"),
        (["pairs", "OUTPUT='out'"], "OUTPUT is 'out'; it must be a name without '"),
        (
            ["report", "TRAIN=nopara+x", "TUNE_FLAGS_x=--a $5"],
            "TUNE_FLAGS_x has a single $: write $$ for a dollar sign",
        ),
        (["pairs", "PAIRS_FLAGS=--a $5"], "PAIRS_FLAGS has a single $: write $$ for a dollar sign"),
        (["pairs", "PAIRS_FLAGS=--a 'Novel "], "PAIRS_FLAGS = --a 'Novel : a quotation mark is not closed"),
    ],
)
def test_what_cannot_be_made_is_named(make, words, complaint):
    result = make(*words, check=False)
    assert result.returncode == 2 and complaint in result.stderr


def test_help_lists_the_targets_and_settings_shows_what_is_in_force(make):
    listed = make("help").stdout
    for target in (
        "setup",
        "pairs",
        "pairs-no-paraphrase",
        "paraphrase",
        "train-local",
        "apply-local",
        "precocity",
        "report",
        "demo",
    ):
        assert f"  {target} " in listed
    assert make().stdout == listed  # help is the default goal
    shown = make("settings").stdout
    assert re.search("^PAIRS_PER_YEAR = 50 +# ", shown, re.MULTILINE)
    assert "TUNE_FLAGS_timeline = --recombine 1" in make("settings", "TRAIN=nopara+timeline").stdout
    example = re.findall(r"^#?([A-Z][A-Z0-9_]+) = ", (ROOT / "config.example.mk").read_text(), re.MULTILINE)
    assert len(example) > 20 and set(example) <= set(re.findall("^([A-Z0-9_]+) =", shown, re.MULTILINE))


@pytest.mark.slow
def test_what_paraphrasing_costs_and_looks_like_can_be_seen_first(make, server):
    flags = f"PARAPHRASE_FLAGS=--base-url {server.url} --model tiny --price 1/2"
    told = make("paraphrase-estimate", flags).stdout
    assert "to be paraphrased" in told and "No call was made." in told and server.requests == []
    shown = make("paraphrase-preview", flags).stdout
    assert len(server.requests) == 5 and shown.count("tiny-2026, temperature") == 5
    assert "no batch is open" in make("paraphrase-batch", flags).stdout
    for target in ("paraphrase-estimate", "paraphrase-preview", "paraphrase-batch"):
        assert "nothing to paraphrase" in make(target, "TRAIN=nopara").stdout
    assert not (make.output / "paraphrased/para20.tsv").exists()
    make("paraphrase", flags)
    assert "replies, " in make("clean-paid").stdout and ", $0.00" in make("clean-paid").stdout

"""A user with a clone of the project, an ssh config, and a real Slurm and sshd to talk to (rig.sh)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from small_corpus import make_word_corpus

import script

ROOT = Path(__file__).resolve().parents[2]
RIG = ROOT / "tests/cluster/rig.sh"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items):
    of_the_cluster = [item for item in items if "cluster" in item.path.parts]
    for number, item in enumerate(of_the_cluster):
        item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.xdist_group(f"cluster {number % 2}"))  # two rigs: most of the time is waiting


@pytest.fixture(scope="session")
def rig():
    """Return the folder of a running rig."""
    lacking = subprocess.run([RIG, "missing"], capture_output=True, text=True).stdout.strip()
    if os.geteuid() != 0:
        lacking = f"root {lacking}".strip()
    if lacking:
        say = pytest.fail if os.environ.get("CLUSTER_TESTS") == "insist" else pytest.skip
        say(f"no real Slurm and sshd ({lacking} missing: tests/cluster/rig.sh install); make test-cluster insists")
    folder = Path(tempfile.mkdtemp(prefix="rig.", dir="/tmp"))  # the name has to be short: sockets
    try:
        started = subprocess.run(
            [RIG, "start", folder], stderr=subprocess.PIPE, text=True, env={**os.environ, "RIG_PYTHON": sys.executable}
        )
        if started.returncode:  # in a few lines, which every test of the cluster repeats
            pytest.fail(started.stderr, pytrace=False)
        yield folder
    finally:
        subprocess.run([RIG, "stop", folder])
        shutil.rmtree(folder, ignore_errors=True)


class User:
    """A clone, its settings, and what lies at the far ends (which are folders of this machine, too)."""

    def __init__(self, rig: Path, home: Path, name: str, words: Path, encoder: Path):
        self.rig, self.encoder, self.clone = rig, encoder, home / "my clone"
        self.far = rig / "delta/projects" / f"my {name}"
        self.campus = rig / "campus/data" / f"my {name}"
        files = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True)
        for path in filter(None, files.stdout.decode().split("\0")):
            target = self.clone / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, target)
        name = ("-c", "user.name=user", "-c", "user.email=user@example.org")
        for words_of_git in (["init", "-q"], ["add", "-A"], [*name, "commit", "-qm", "a clone"]):
            subprocess.run(["git", *words_of_git], cwd=self.clone, check=True)
        shutil.copytree(words, self.clone / "data")
        self.config = self.clone / "config.mk"
        self.config.write_text(
            f"PYTHON = {sys.executable}\nPYTHON3 = {sys.executable}\nTRAIN ?= nopara\nBASE_MODEL = {encoder}\n"
            "PAIRS_PER_YEAR = 50\nPAIRS_FLAGS = --level-quantile 1\n"
            "TUNE_FLAGS = --epochs 2 --batch-size 8 --eval-fraction 0.4 --device cpu\nAPPLY_FLAGS = --device cpu\n"
            f"DELTA_DIR = {self.far}\nSSH = ssh -F {rig}/ssh_config\n"
        )

    def start(self, *words: str) -> subprocess.Popen:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        return subprocess.Popen(
            ["make", *words], cwd=self.clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def make(self, *words: str, fails: str | None = None) -> str:
        """Run make; return what it said. With `fails`, expect a nonzero exit and this in what it said."""
        running = self.start(*words)
        out, err = running.communicate(timeout=600)
        assert (running.returncode != 0) == (fails is not None), out + err
        assert fails is None or fails in " ".join((out + err).split()), out + err
        assert "Traceback" not in err, err
        return out + err

    def delta(self, script: str, check: bool = True) -> str:
        """Run a script in the project's folder in a login shell on delta, as the user would by hand."""
        command = ["ssh", "-F", self.rig / "ssh_config", "delta", f"bash -lc 'cd \"{self.far}\" && bash -s'"]
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def submit(self, *words: str) -> str:
        """sbatch by hand; return the job's id."""
        return self.delta(f"sbatch --parsable {' '.join(words)}")

    def state(self, job: str) -> str:
        """Return the state of a job: one word, or several of an array's tasks."""
        return " ".join(sorted(set(self.delta(f"squeue -h -r -t all -j {job} -o %T").split())))

    def until(self, told, seconds: float = 120):
        """Wait until told() is true; return what it gave."""
        end = time.time() + seconds
        while not (found := told()):
            assert time.time() < end, self.delta("squeue -a; tail -n 5 logs/*", check=False)
            time.sleep(0.2)
        return found

    def until_ended(self, job: str, seconds: float = 240) -> str:
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")
        return self.until(lambda: state if (state := self.state(job)) in ended else None, seconds)

    def end_sessions(self) -> None:
        """Kill the far ends' ssh sessions: connections break."""
        pgrep = ["pgrep", "-f", f"sshd.*{self.rig.name}"]
        listeners = subprocess.run(pgrep, capture_output=True, text=True).stdout.split()
        children = subprocess.run(["pgrep", "-P", ",".join(listeners)], capture_output=True, text=True).stdout.split()
        for pid in set(children) - set(listeners):
            os.kill(int(pid), signal.SIGKILL)

    def training(self, model: str) -> list[int]:
        """Return the running processes that train a model of this user."""
        return self.processes(f"^/.*python -u TuneEmbeddings.py .*output/models/{model} ")

    def processes(self, command: str) -> list[int]:
        """Return the processes of this user whose command matches; the other rig's tests run beside these."""
        pids = subprocess.run(["pgrep", "-f", command], capture_output=True, text=True).stdout.split()
        folders = ((int(pid), Path(f"/proc/{pid}/cwd")) for pid in pids)
        return [pid for pid, folder in folders if folder.resolve() == self.far]

    def log(self, job: str) -> str:
        return "".join(path.read_text() for path in self.far.glob(f"logs/*-{job}.out"))

    def checkpoint(self, model: str, step: int) -> bool:
        """Tell whether a whole checkpoint of this step or a later one is there."""
        folder = self.far / "output/models" / model
        return any(int(path.parent.name.split("-")[1]) >= step for path in folder.glob("checkpoint-*/complete.json"))

    def steps(self, model: str) -> int:
        return script.read_json(self.far / "output/models" / model / "training.json")["steps"]


@pytest.fixture(scope="session")
def word_files(tmp_path_factory):
    """Return the folder of the word corpus: metadata.tsv and chunks/."""
    return make_word_corpus(tmp_path_factory.mktemp("corpus") / "data").folder


@pytest.fixture(scope="session")
def environment(rig, tmp_path_factory, word_files, tiny_encoder):
    """Return the .venv that make setup-delta made."""
    user = User(rig, tmp_path_factory.mktemp("first"), "first", word_files, tiny_encoder)
    user.make("connect")
    assert "ready: Python" in user.make("setup-delta")
    return user.far / ".venv"


@pytest.fixture
def user(rig, tmp_path, word_files, tiny_encoder, environment):
    """Return a user whose pairs are made and whose folder on delta has an environment; its jobs end with the test."""
    made = User(rig, tmp_path, tmp_path.name, word_files, tiny_encoder)
    made.make("pairs-no-paraphrase")
    made.far.mkdir(parents=True)
    (made.far / ".venv").symlink_to(environment)
    yield made
    made.delta("scancel --user=root --full; while squeue -h | grep -q .; do sleep 0.3; done")


@pytest.fixture
def sent(user):
    """Return a user who has run make sync-delta."""
    user.make("sync-delta")
    return user

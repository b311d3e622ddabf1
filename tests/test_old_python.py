"""A Python that is too old for the project is told in one sentence, wherever a user may meet the system's own."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EARLY = ("oldest_python.py", "delta.py")  # read whole before the sentence can be said
NEEDED = "Python 3.11 or newer is needed, and"
# Old versions of Python, where pyenv has some; otherwise this one, which says that it is old.
FOUND = sorted((Path.home() / ".pyenv/versions").glob("3.[6-9].*/bin/python3"))
REAL = {FOUND[0], FOUND[-1]} if FOUND else {}
PRETENDER = "import runpy, sys; sys.version_info = (3, 9, 6, 'final', 0); sys.argv[:1] = []; " + (
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


@pytest.fixture(params=["pretender", *sorted(map(str, REAL))], ids=lambda name: name.rpartition("versions/")[2])
def old_python(request, tmp_path) -> Path:
    """Return a folder with an old Python in it as python3."""
    folder = tmp_path / "old"
    folder.mkdir()
    start = f'{sys.executable} -c "{PRETENDER}"' if request.param == "pretender" else request.param
    (folder / "python3").write_text(f'#!/bin/sh\nexec {start} "$@"\n')
    (folder / "python3").chmod(0o755)
    return folder


def run(words, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "PYENV"))}
    more = {"cwd": ROOT, "env": environment} | more
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, **more)


def assert_told(done):
    assert done.returncode == 2 and done.stderr.startswith(NEEDED) and "PYTHON3" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "SyntaxError" not in done.stderr


@pytest.mark.parametrize("name", EARLY)
def test_what_an_old_python_reads_first_is_in_its_grammar(name):
    text = (ROOT / name).read_text()
    tree = ast.parse(text, feature_version=(3, 6))
    assert "__future__" not in text  # annotations: 3.6 knows no such feature
    assert not any(isinstance(node, ast.NamedExpr | ast.Match) for node in ast.walk(tree))
    assert name == "oldest_python.py" or text.index("import oldest_python") < text.index("from cluster import")


def test_every_action_of_delta_says_which_python_it_needs(old_python):
    assert_told(run([old_python / "python3", "delta.py", "status"]))


@pytest.mark.parametrize("where", ["DELTA=delta", "DELTA="])
def test_a_cluster_target_says_it_where_no_environment_is_made(old_python, where, tmp_path):
    words = ["make", "status", where, f"VENV={tmp_path}/none", f"PYTHON3={old_python}/python3", "CONFIG=/dev/null"]
    done = run(words)
    assert done.returncode == 2 and done.stderr.startswith(NEEDED) and "Traceback" not in done.stderr, done.stderr


def test_make_setup_says_it_before_it_makes_anything(old_python, tmp_path):
    words = ["make", "setup", f"VENV={tmp_path}/none", f"PYTHON3={old_python}/python3", "CONFIG=/dev/null"]
    done = run(words)
    assert done.returncode == 2 and done.stderr.startswith(NEEDED) and not (tmp_path / "none").exists()


@pytest.mark.slow
@pytest.mark.parametrize("old_python", ["pretender"], indirect=True)
def test_setup_on_a_cluster_says_it_and_goes_on_once_there_is_a_newer_one(old_python, tmp_path):
    """As on a campus cluster: no modules, and the system's python3 is that of its release."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "slurm", project / "slurm")
    shutil.copy(ROOT / "oldest_python.py", project)
    words = ["bash", "--norc", "slurm/setup.sh", "--precocity", "--no-such-flag-of-pip"]
    paths = {"HOME": str(tmp_path), "PATH": f"{old_python}:/usr/bin:/bin"}
    for _ in range(2):
        assert_told(run(words, cwd=project, env=paths))
        assert (project / ".venv/without-torch").exists() and not (project / ".venv/bin").exists()
    (old_python / "python3").unlink()
    (old_python / "python3").symlink_to(sys.executable)
    done = run(words, cwd=project, env=paths)
    assert "no such option: --no-such-flag-of-pip" in done.stderr, done.stderr
    assert (project / ".venv/without-torch").exists() and (project / ".venv/bin/python").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["VENV={}/made", "PYTHON3=old"], "{}/made/bin/python"),
        (["VENV={}/none", "PYTHON3=old"], "old"),
        (["VENV={}/made", "PYTHON=python", "PYTHON3=old"], "python"),
    ],
)
def test_cluster_targets_use_the_environment_where_there_is_one(settings, expected, tmp_path):
    (tmp_path / "made/bin").mkdir(parents=True)
    (tmp_path / "made/bin/python").touch()
    targets = re.findall("^([a-z-]+): ##", (ROOT / "slurm/delta.mk").read_text(), re.MULTILINE)
    assert len(targets) > 12
    for target in targets:
        words = ["make", "-n", target, "CONFIG=/dev/null", *(word.format(tmp_path) for word in settings)]
        assert run(words).stdout.startswith(f"{expected.format(tmp_path)} delta.py --host"), target

# Make folders and environment on the cluster and fetch the base model. On a login node, in the project's folder:
#   bash slurm/setup.sh [BASE_MODEL [--trust-remote-code] [flags of pip]]
#   bash slurm/setup.sh --precocity [flags of pip]   without PyTorch and model, enough to measure precocity
# Jobs have no internet: what they need is fetched here.
set -euo pipefail

base_model=${1:-sentence-transformers/all-distilroberta-v1}
mark=.venv/without-torch
mkdir -p logs data/chunks output
if [ "$base_model" != --precocity ]; then
  if [ -e $mark ]; then rm -rf .venv; fi
elif [ ! -e .venv ]; then
  mkdir .venv
  touch $mark
fi
. slurm/environment.sh
if ! "$PYTHON" oldest_python.py 2> /dev/null; then
  python3 oldest_python.py
  light=
  if [ -e $mark ]; then light=yes; fi
  rm -rf .venv
  python3 -m venv --system-site-packages .venv  # the module's PyTorch, built for these GPUs
  if [ "$light" ]; then touch $mark; fi
fi
if [ "$base_model" = --precocity ]; then
  shift
  if [ -e $mark ]; then set -- -c constraints.txt "$@"; fi
  "$PYTHON" -m pip install --quiet -r requirements-precocity.txt "$@"
  "$PYTHON" -c 'import sys, numpy, pyarrow
print(f"ready: Python {sys.version.split()[0]}, numpy {numpy.__version__}, pyarrow {pyarrow.__version__}")'
  exit
fi
trust=
if [ "${2:-}" = --trust-remote-code ]; then
  trust=$2
  set -- "$1" "${@:3}"
fi
"$PYTHON" -m pip install --quiet -r requirements.txt "${@:2}"
"$PYTHON" -c 'import sys
import sentence_transformers, torch
from encoder import load_model
from script import InputError
try:
    load_model("BASE_MODEL", sys.argv[1], "cpu", "--trust-remote-code" in sys.argv)
except InputError as error:
    sys.exit(f"setup.sh: {error}")
versions = f"torch {torch.__version__}, sentence-transformers {sentence_transformers.__version__}"
print(f"ready: Python {sys.version.split()[0]}, {versions}, {sys.argv[1]}")' "$base_model" $trust

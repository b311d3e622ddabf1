# Make folders and environment on the cluster and fetch the base model. On a login node, in the project's folder:
#   bash slurm/setup.sh [BASE_MODEL [flags of pip]]
# Jobs have no internet: what they need is fetched here.
set -euo pipefail

base_model=${1:-sentence-transformers/all-distilroberta-v1}
mkdir -p logs data/chunks output
. slurm/environment.sh
if ! "$PYTHON" -c 'import sys' 2> /dev/null; then
  rm -rf .venv
  python3 -m venv --system-site-packages .venv  # the module's PyTorch, built for these GPUs
fi
"$PYTHON" -m pip install --quiet -r requirements.txt "${@:2}"
"$PYTHON" -c 'import sys
import sentence_transformers, torch
from encoder import load_model
from script import InputError
try:
    load_model("BASE_MODEL", sys.argv[1], "cpu")
except InputError as error:
    sys.exit(f"setup.sh: {error}")
versions = f"torch {torch.__version__}, sentence-transformers {sentence_transformers.__version__}"
print(f"ready: Python {sys.version.split()[0]}, {versions}, {sys.argv[1]}")' "$base_model"

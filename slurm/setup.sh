# Make folders and environment on the cluster and fetch the base model. On a login node, in the project's folder:
#   bash slurm/setup.sh BASE_MODEL [flags of pip]
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
"$PYTHON" - "$base_model" <<'PYTHON'
import sys
sys.path.insert(0, ".")
import corpus, TuneEmbeddings

@corpus.command
def main(argv=None):
    TuneEmbeddings.load_model("BASE_MODEL", sys.argv[1], "cpu")
sys.modules["__main__"].__file__ = "slurm/setup.sh"
sys.exit(main())
PYTHON
echo "ready: $("$PYTHON" -c 'import sys, torch, sentence_transformers as st
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, sentence-transformers {st.__version__}")'), $base_model"

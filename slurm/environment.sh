# The environment of the scripts on the cluster, for setup, checks and jobs alike. Sourced in the project's folder.

MODULES="pytorch-conda/2.12"           # EDIT: `module avail pytorch` lists what there is; "" where there are no modules
if [ -e .venv/without-torch ]; then    # make precocity-cluster made it: enough to measure precocity
  MODULES=""                           # EDIT: a module with Python 3.11 or newer, where python3 is older
fi
export HF_HOME="${HF_HOME:-$PWD/.hf}"  # EDIT: where base models are stored; on Delta /projects or /work/hdd, never /u
export PYTHONNOUSERSITE=1              # what lies in ~/.local is not part of it
PYTHON=".venv/bin/python"              # made by slurm/setup.sh on top of the modules

if [ -n "$MODULES" ]; then
  case $- in *u*) unset_was_error=yes; set +u ;; esac  # modules read variables that are not set
  type module > /dev/null 2>&1 || . /etc/profile
  if ! type module > /dev/null 2>&1; then
    echo "slurm/environment.sh: there are no modules on $(hostname); set MODULES=\"\" in that file" >&2
    return 2
  fi
  module reset > /dev/null 2>&1
  # shellcheck disable=SC2086  # several modules are several words
  if ! module load $MODULES; then
    echo "slurm/environment.sh: module load $MODULES failed; see \`module avail\`, and edit MODULES in that file" >&2
    return 2
  fi
  if [ -n "${unset_was_error:-}" ]; then set -u; fi
fi

"""Ends with one sentence where Python is too old for this project. Itself it runs in any Python 3 from 3.6 on.

Imported before everything else by what may meet the system's own Python, and run as a script before an environment is
made. Old versions read such a file whole before they run it, so its own syntax has to be theirs.
"""

import sys

OLDEST = (3, 11)
REMEDY = "name a newer one as PYTHON3 in config.mk, or on a cluster load its module (MODULES in slurm/environment.sh)"

if sys.version_info[:2] < OLDEST:
    found = ".".join(map(str, sys.version_info[:3]))
    print(f"Python 3.11 or newer is needed, and {sys.executable} is {found}: {REMEDY}.", file=sys.stderr)
    sys.exit(2)

"""Tests on local clusters run in an environment of their own, which ``make test-engines`` makes."""

import os
import sys
from pathlib import Path

HERE = str(Path(__file__).parent)
collect_ignore_glob = [] if "LABEL_GUARD_CLUSTERS" in os.environ else ["test_*.py"]
if HERE not in sys.path:
    sys.path.insert(0, HERE)
# Workers import the modules of this folder too.
os.environ["PYTHONPATH"] = os.pathsep.join([HERE, *filter(None, [os.environ.get("PYTHONPATH")])])

"""What all tests share: Hypothesis without deadlines, parsed absl flags, the digits of ``make run``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from hypothesis import HealthCheck, settings

SCRIPTS = Path(__file__).parent.parent / "scripts"

# Machines are shared: a slow one must fail no test. In CI a failure must come again when it is looked into.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if "CI" in os.environ else "default")

if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Grain's workers read one, and pytest parses none


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``digits/1.0.0`` and, with planted faults, ``digits_faulty/1.0.0``, made by the scripts."""
    data = tmp_path_factory.mktemp("data")
    clean, faulty = data / "digits" / "1.0.0", data / "digits_faulty" / "1.0.0"
    for script, arguments in (("prepare_digits.py", [data]), ("plant_faults.py", [clean, faulty])):
        command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return data

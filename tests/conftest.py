"""What all tests share: Hypothesis without deadlines, parsed absl flags, the digits of ``make run``."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from absl import flags
from hypothesis import HealthCheck, settings

from label_guard.cli import app

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


@pytest.fixture(scope="session")
def dataset_maker() -> ModuleType:
    """``tests/data/make.py``."""
    # Not imported as a part of a package: a TFDS builder would look for the package's own files.
    spec = importlib.util.spec_from_file_location("insects", Path(__file__).parent / "data" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    return maker


@pytest.fixture(scope="session")
def dataset_files(dataset_maker: ModuleType) -> dict[str, str]:
    """The path of each dataset below ``insects``, by name."""
    return {name: file for name, (file, _) in dataset_maker.DATASETS.items()}


@pytest.fixture(scope="session")
def insects(dataset_maker: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datasets that ``tests/data/make.py`` makes, one in every format."""
    folder = tmp_path_factory.mktemp("insects")
    dataset_maker.make(folder)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            app.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call

"""The training loop of scripts/train.py and the demonstration, on real digits with planted faults."""

import argparse
import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from label_guard import read_quarantine
from label_guard.errors import InvalidLabelError, SchemaChangedError, UsageError
from label_guard.testing import assert_conserved

SCRIPTS = Path(__file__).parents[2] / "scripts"
CONFIGS = Path(__file__).parents[2] / "configs"

# What TFDS and Orbax call of protobuf, JAX and asyncio is theirs to fix.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/train.py as a module: all runs share its compiled step."""
    spec = importlib.util.spec_from_file_location("train_script", SCRIPTS / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(script: ModuleType, data: Path, workdir: Path, *more: str) -> argparse.Namespace:
    """The command line of a run."""
    return script.parse(["train.py", "--data", str(data), "--workdir", str(workdir), *more])


def run(script: ModuleType, data: Path, workdir: Path, *more: str) -> dict[str, Any]:
    """One run of the loop in this process."""
    return script.train(options(script, data, workdir, *more))


@pytest.fixture
def clean(data_dir: Path) -> Path:
    """Sound digits."""
    return data_dir / "digits" / "1.0.0"


@pytest.fixture
def faulty(data_dir: Path) -> Path:
    """Digits with planted faults."""
    return data_dir / "digits_faulty" / "1.0.0"


def is_finite(result: dict[str, Any]) -> bool:
    """Whether every loss of a run is."""
    return all(map(math.isfinite, result["losses"].values()))


@pytest.mark.long
def test_guarded_training_ends_where_clean_training_does(
    script: ModuleType, clean: Path, faulty: Path, tmp_path: Path
) -> None:
    """On faulty data the guarded run is within 2 points of the clean one and never sees a loss that is not finite."""
    steps = ["--steps", "400"]
    reference = run(script, clean, tmp_path / "clean", "--on-invalid", "off", *steps)
    guarded = run(script, faulty, tmp_path / "guarded", "--on-invalid", "drop", *steps)
    assert reference["accuracy"] > 0.94
    assert abs(reference["accuracy"] - guarded["accuracy"]) <= 0.02
    assert is_finite(reference)
    assert is_finite(guarded)
    counts = guarded["counts"]
    assert_conserved(counts)
    assert counts.delivered == 400 * 64
    assert set(counts.by_rule) == {"LG101", "LG102", "LG103", "LG104"}


def test_unguarded_training_shows_nan_losses_and_finite_weights(
    script: ModuleType, faulty: Path, tmp_path: Path
) -> None:
    """Without the guard losses turn NaN although training goes on: no weight ever shows it, so no later check would."""
    result = run(script, faulty, tmp_path, "--on-invalid", "off", "--steps", "48")
    bad = [step for step, loss in result["losses"].items() if not math.isfinite(loss)]
    assert 5 <= len(bad) < 48
    assert result["losses"][max(set(range(1, 49)) - set(bad))] < 1.5
    assert result["accuracy"] > 0.8
    assert result["counts"] is None


def visible_keys(faulty: Path) -> set[str]:
    """Keys of the planted records that break the schema."""
    planted = json.loads((faulty / "planted.json").read_text())
    return {key for fault, keys in planted.items() if fault != "one_based_in_range" for key in keys}


def quarantined(workdir: Path) -> list[str | None]:
    """Keys of the records in a run's side file."""
    return [entry.record for entry in read_quarantine(str(workdir / "quarantine")).entries]


def test_mask_delivers_every_record(script: ModuleType, faulty: Path, tmp_path: Path) -> None:
    """Under mask nothing leaves the stream, every loss is finite, and bad records are in the side file all the same."""
    result = run(script, faulty, tmp_path, "--on-invalid", "mask", "--steps", "30")
    assert is_finite(result)
    counts = result["counts"]
    assert (counts.seen, counts.delivered, counts.is_conserved) == (1920, 1920, True)
    assert set(quarantined(tmp_path)) == visible_keys(faulty)


def test_report_only_writes_down(script: ModuleType, faulty: Path, tmp_path: Path) -> None:
    """Under report bad labels go on: a record without a label ends the run, by its key; they are written first."""
    with pytest.raises(UsageError, match=r"'label' cannot be batched: .* None \(record digits-train"):
        run(script, faulty, tmp_path, "--on-invalid", "report", "--steps", "30")
    assert quarantined(tmp_path)
    assert set(quarantined(tmp_path)) <= visible_keys(faulty)


def test_raise_names_the_record(script: ModuleType, faulty: Path, tmp_path: Path) -> None:
    """The first bad batch ends the run with the record's key; the script prints it without a traceback."""
    args = options(script, faulty, tmp_path, "--on-invalid", "raise")
    with pytest.raises(InvalidLabelError, match=r"digits-train\.array_record-0000\d-of-00003__\d+"):
        script.train(args)
    args.workdir = tmp_path / "again"
    reported = script.main(args)
    assert reported.startswith("error: digits: ")
    assert not (args.workdir / "result.json").exists()


@pytest.mark.parametrize("on_invalid", ["drop", "mask"])
def test_a_resumed_run_is_the_same_run(script: ModuleType, faulty: Path, tmp_path: Path, on_invalid: str) -> None:
    """Model and pipeline come back together: the same losses step by step, the same counts, the same quarantine."""
    command = ["--on-invalid", on_invalid, "--batch-size", "32", "--save-every", "10"]
    whole = run(script, faulty, tmp_path / "whole", *command, "--steps", "30")
    first = run(script, faulty, tmp_path / "cut", *command, "--steps", "10")
    second = run(script, faulty, tmp_path / "cut", *command, "--steps", "30")
    assert second["start"] == 10
    assert {**first["losses"], **second["losses"]} == whole["losses"]
    assert second["counts"] == whole["counts"]
    assert second["accuracy"] == whole["accuracy"]
    assert quarantined(tmp_path / "whole") == quarantined(tmp_path / "cut")
    assert run(script, faulty, tmp_path / "cut", *command, "--steps", "30")["losses"] == {}


def test_resuming_under_other_label_rules_is_refused(script: ModuleType, faulty: Path, tmp_path: Path) -> None:
    """A checkpoint of a run under one schema does not go on under another."""
    run(script, faulty, tmp_path, "--steps", "4", "--save-every", "4")
    other = tmp_path / "digits.yaml"
    text = (CONFIGS / "digits.yaml").read_text().replace("emit: int32", "emit: int32\n    ignore: [255]")
    other.write_text(text)
    with pytest.raises(SchemaChangedError):
        run(script, faulty, tmp_path, "--steps", "8", "--schema", str(other))


def test_the_step_compiles_once(script: ModuleType, faulty: Path, tmp_path: Path) -> None:
    """Batches keep one shape and dtype to the end, refilled ones included."""
    run(script, faulty, tmp_path / "short", "--steps", "2", "--batch-size", "48")
    before = script.train_step._cache_size()
    run(script, faulty, tmp_path / "long", "--steps", "60", "--batch-size", "48")
    assert script.train_step._cache_size() == before


def test_a_batch_without_a_valid_label_changes_nothing_and_stays_finite(script: ModuleType) -> None:
    """An all-masked batch has loss 0 and zero gradients, whatever is in it."""
    params = script.init_params(0)
    state = {"params": params, "opt_state": script.OPTIMIZER.init(params)}
    batch = {"image": jnp.ones((4, 8, 8, 1)), "label": jnp.array([0, 255, -1, 3]), "label_valid": jnp.zeros(4, bool)}
    after, loss = script.train_step(state, batch)
    assert float(loss) == 0
    for before, now in zip(jax.tree.leaves(params), jax.tree.leaves(after["params"]), strict=True):
        np.testing.assert_array_equal(before, now)


def test_workers_do_not_die_on_absl_flags(faulty: Path, tmp_path: Path) -> None:
    """The script as a process with a Grain worker trains, prints its counts and writes its result."""
    command = [sys.executable, str(SCRIPTS / "train.py"), "--data", str(faulty), "--workdir", str(tmp_path)]
    command += ["--workers", "1", "--steps", "30", "--nograin_py_debug_mode"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 of 30 losses are not finite" in done.stdout
    assert "seen 1," in done.stdout
    assert json.loads((tmp_path / "result.json").read_text())["non_finite"] == 0


def test_the_demonstration_shows_the_difference(data_dir: Path, tmp_path: Path) -> None:
    """``make run``, short: planted faults are found by name, the counts add up, both runs are side by side."""
    command = [sys.executable, str(SCRIPTS / "demo.py"), "--data", str(data_dir), "--runs", str(tmp_path / "runs")]
    done = subprocess.run([*command, "--steps", "40"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    reported, _, audited = done.stdout.partition("\naudit ")
    lines = {line.split()[0]: line for line in reported.splitlines() if line}
    assert "0 of 40" in lines["guarded"]
    assert " 0 of 40" not in lines["unguarded"]
    assert lines["guard"].startswith("guard       seen 2,6")
    assert "49 records, each once" in lines["side"]
    assert lines["planted"].endswith("just these records")
    assert "10 (9), 255 (6), 4294967297 (6)" in lines["LG101"]
    assert {"LG101", "LG102", "LG103", "LG104"} <= set(lines)
    assert "train: 1,500 records in 3 files, 49 bad (3.27%)" in audited
    assert (tmp_path / "runs" / "audit.html").exists()

"""scripts/train_lm.py: token ids guarded before and after packing, in a loop that trains."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from label_guard import read_quarantine

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_lm.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("train_lm_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_loop_trains_on_valid_tokens(script: ModuleType, tmp_path: Path) -> None:
    """Both planted documents are dropped and named, the token spoilt after packing is masked in each batch."""
    result = script.train(script.parse(["--workdir", str(tmp_path), "--documents", "300"]))
    losses = result["losses"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] - 0.5
    assert result["summary"].by_rule == {"LG101": 2, "LG102": len(losses)}
    assert {entry.record for entry in read_quarantine(str(tmp_path / "documents")).entries} == {"7", "20"}
    assert len(read_quarantine(str(tmp_path / "batches")).entries) == len(losses)


def test_the_segment_ids_stay_ids(script: ModuleType, tmp_path: Path) -> None:
    """The mask joins the segment ids: int32, 0 at the invalid token and in the padding, the documents as they were."""
    batch = next(iter(script.batches(script.parse(["--workdir", str(tmp_path), "--documents", "300"]))))
    assert set(batch) == {
        f"{name}{more}" for name in ("inputs", "targets") for more in ("", "_segmentation", "_position")
    }
    segments = batch["targets_segmentation"]
    assert segments.dtype == np.int32
    assert segments[0, 0] == 0 != batch["inputs_segmentation"][0, 0]
    assert segments.max() > 1
    assert all(0 <= batch[name].min() <= batch[name].max() < script.VOCABULARY for name in ("inputs", "targets"))

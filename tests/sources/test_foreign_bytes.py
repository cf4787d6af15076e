"""Readers of foreign bytes: what fuzzing found, and bytes near sound ones, give a result or one clear error."""

from __future__ import annotations

import importlib
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
CORPUS = sorted(path for path in (ROOT / "tests" / "corpus").glob("*/*") if path.is_file())
NAMES = ("schema", "quarantine", "tfrecord", "example", "npy", "npz", "jsonl", "csv", "tfds", "emission", "reports")
MOST_SECONDS = 20  # of the processor, for one input of a few kilobytes; most take milliseconds


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Any]]:
    """The targets of ``make fuzz``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts" / "fuzz"))
        yield importlib.import_module("targets").TARGETS
        sys.modules.pop("targets", None)
        sys.modules.pop("emission", None)


def test_every_target_is_tested(targets: dict[str, Any]) -> None:
    """No reader is left out here, and the corpus has a folder for each that was fixed."""
    assert set(targets) == set(NAMES)
    assert {path.parent.name for path in CORPUS} <= set(NAMES)
    assert CORPUS


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_stays_mended(targets: dict[str, Any], path: Path) -> None:
    """Each input that once broke a promise keeps it, soon and within little memory."""
    begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    targets[path.parent.name].run(path.read_bytes())
    assert time.process_time() - begun < MOST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_bytes_near_sound_ones_break_no_promise(targets: dict[str, Any], name: str, seed: int) -> None:
    """Seeds with bytes changed, taken out, doubled or cut off are read, or refused in one error."""
    targets[name].run(mutated(targets[name].seeds, random.Random(seed)))


def mutated(seeds: tuple[bytes, ...], chance: random.Random) -> bytes:
    """One of ``seeds`` after a few random changes."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(data))
        match chance.randrange(5):
            case 0:
                data[place : place + 1] = bytes(
                    [chance.choice((0, 1, 0x7F, 0x80, 0xFF, 0x1B, 0x9B, chance.randrange(256)))]
                )
            case 1:
                del data[place : place + chance.randint(1, 8)]
            case 2:
                data[place:place] = data[place : place + chance.randint(1, 30)]
            case 3:
                data[place:place] = chance.choice(
                    (b"\x1b[31m", b"\xe2\x80\xae", b"</script>", b"1e400", b"-9" * 20, b"[" * 50)
                )
            case _:
                del data[place:]
    return bytes(data)

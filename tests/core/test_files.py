"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from label_guard.core.files import atomic_write


@pytest.mark.parametrize(
    ("before", "written", "after"), [(0o600, 0o600, 0o600), (0o640, 0o600, 0o640), (None, 0o644, 0o644)]
)
def test_a_private_file_stays_private_while_it_is_replaced(
    before: int | None, written: int, after: int, tmp_path: Path
) -> None:
    """Nobody reads the new content who could not read the old one; a new file follows the umask."""
    target = tmp_path / "report.json"
    if before is not None:
        target.touch()
        target.chmod(before)
    mask = os.umask(0o022)
    try:
        with atomic_write(target) as file:
            file.write(b"x")
            (partial,) = tmp_path.glob(".report.json.*")
            assert stat.S_IMODE(partial.stat().st_mode) == written
    finally:
        os.umask(mask)
    assert (stat.S_IMODE(target.stat().st_mode), target.read_bytes()) == (after, b"x")

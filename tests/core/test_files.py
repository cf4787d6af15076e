"""Writing a file whole or not at all, and finding files by a glob."""

from __future__ import annotations

import os
import stat
import tempfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.core.files import atomic_write, local_glob


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


NAMES = st.sampled_from(["a", "b", "ab", ".h", "x.csv"])
PARTS = st.sampled_from(["*", "a", "a*", "**", "x.csv", "*.csv", "?", "[ab]", ".h", "**.csv", "\0", "n" * 300])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["file", "a", "nothing", "."]))),
    st.lists(st.lists(PARTS, min_size=1, max_size=4), min_size=1, max_size=8),
)
def test_a_glob_means_the_same_in_every_python(made: list[tuple[list[str], str]], patterns: list[list[str]]) -> None:
    """Each path is matched part by part; ``**`` means any number of folders, none of them a link."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for parts, kind in made:
            _make(top.joinpath(*parts), kind)
        for pattern in patterns:
            found, closed = local_glob(top, "/".join(pattern))
            assert len(found) == len(set(found))
            assert (set(found), closed) == (_matching(top, pattern), [])


def _make(path: Path, kind: str) -> None:
    """Makes a file or a link, with its folders, where nothing is in the way."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            path.touch()
        else:
            path.symlink_to(kind)
    except OSError:
        pass


def _matching(place: Path, parts: list[str]) -> set[Path]:
    """What ``parts`` means in ``place``, as a recursion over one name after the other."""
    if not parts:
        return {place}
    names = os.listdir(place) if place.is_dir() else []  # noqa: PTH208
    found: set[Path] = set()
    if parts[0] == "**":
        found |= _matching(place, parts[1:]) if place.is_dir() else set()
        for name in names:
            if not (place / name).is_symlink():
                found |= _matching(place / name, parts) if (place / name).is_dir() else set()
        return found
    for name in names:
        if fnmatch(name, parts[0]):
            found |= _matching(place / name, parts[1:])
    return found

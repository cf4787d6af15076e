"""Record keys: positions that travel, names made of them, sources kept apart, records selected."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.errors import UsageError
from label_guard.pipeline.record_keys import KEY, RecordNames, key_in, key_of, keyed, reason_in, tag_of
from label_guard.pipeline.select import select_records


@given(st.integers(0, 2**40 - 1), st.one_of(st.none(), st.text(min_size=1, max_size=20)))
def test_a_key_comes_back_as_its_name(position: int, name: str | None) -> None:
    """The int64 that travels holds position and source."""
    source = keyed([0], name=name)
    key = key_of(position, source.tag)
    assert key.dtype == np.int64
    assert key >= 0
    assert RecordNames({source.tag: source}).name(key) == (str(position) if name is None else f"{name}/{position}")


def test_records_carry_their_position() -> None:
    """A keyed record is a new dict with its key; the source's record stays as it was."""
    records = [{"label": 5}, {"label": 6}]
    record = keyed(records)[1]
    assert (record["label"], int(record[KEY])) == (6, 1)
    assert records[1] == {"label": 6}
    assert key_in(record) == 1
    assert key_in({KEY: np.array([4, 5])}, 1) == 5
    assert key_in((1, 2)) is None
    assert RecordNames({}).name(None) is None


def test_records_that_are_no_dicts() -> None:
    """A record without a place for the key is an error, with parse= as the remedy."""
    with pytest.raises(UsageError, match="parse=decode"):
        keyed([b"raw"])[0]
    assert keyed([b"7"], parse=lambda raw: {"label": int(raw)})[0]["label"] == 7


def test_errors_of_the_source() -> None:
    """An error of the source goes on, or becomes an element with the reason; KeyboardInterrupt always goes on."""

    class Broken:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def __len__(self) -> int:
            return 1

        def __getitem__(self, position: int) -> Any:
            raise self.error

    with pytest.raises(OSError, match="disk"):
        keyed(Broken(OSError("disk")))[0]
    element = keyed(Broken(OSError("disk" * 1000)), on_unreadable="quarantine")[0]
    assert (reason_in(element) or "").startswith("OSError: disk")
    assert len(reason_in(element) or "") == 500
    assert reason_in({"label": 1}) is None
    with pytest.raises(KeyboardInterrupt):
        keyed(Broken(KeyboardInterrupt()), on_unreadable="quarantine")[0]


def test_the_repr_is_the_source() -> None:
    """Grain compares reprs with those in a checkpoint, so a keyed source has that of its source; and it pickles."""
    records = [{"label": 1}]
    assert repr(keyed(records)) == repr(records)
    assert pickle.loads(pickle.dumps(keyed(records, name="a")))[0]["label"] == 1


class _Files:
    """A source that knows its files, as ArrayRecordDataSource does."""

    def __init__(self, *paths: str) -> None:
        self.paths = [Path(path) for path in paths]

    def __len__(self) -> int:
        return 3

    def __getitem__(self, position: int) -> dict[str, int]:
        return {"label": position}


def test_what_tells_sources_apart() -> None:
    """The source id is the name, else a digest of the file names wherever they lie, else what the source is."""
    assert keyed([1], name="a").source_id == "a"
    assert keyed(_Files("/x/a-1", "/x/a-2")).source_id == keyed(_Files("/y/a-1", "/y/a-2")).source_id
    assert keyed(_Files("/x/a-1")).source_id != keyed(_Files("/x/b-1")).source_id
    assert keyed([1, 2]).source_id == keyed([3, 4]).source_id
    assert keyed([1, 2]).source_id != keyed([1]).source_id


def test_a_source_without_a_repr_has_one_id_everywhere() -> None:
    """The id of a source whose repr is a place in memory is the same in the next process."""
    code = (
        "import sys; from label_guard.pipeline.record_keys import keyed\n"
        "class Own:\n    def __len__(self): return 3\n    def __getitem__(self, k): return {}\n"
        "print(keyed(Own()).source_id)"
    )
    ids = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(ids) == 1


def test_tags_of_names() -> None:
    """Tags are positive, fit next to the position, and are 0 only without a name."""
    assert tag_of(None) == 0
    assert all(0 < tag_of(f"name{k}") < 2**22 for k in range(1000))


def test_selected_records(tmp_path: Path) -> None:
    """Records are selected by position, by key, or by a file of either; what is not there is an error."""
    source = _Files("a")
    text = tmp_path / "keys.txt"
    text.write_text("2\n0\n")
    np.savez(tmp_path / "good.npz", positions=np.array([2, 0]))
    np.save(tmp_path / "good.npy", np.array([2, 0]))
    for chosen in ([2, 0], ["2", "0"], np.array([2, 0]), text, str(text), tmp_path / "good.npz", tmp_path / "good.npy"):
        selected = select_records(source, chosen)
        assert [record["label"] for record in selected] == [2, 0]
        assert selected.record_key(0) == "2"
        assert selected.source_id == keyed(source).source_id
    assert len(select_records(source, [])) == 0
    assert repr(select_records(source, [1])) != repr(select_records(source, [2]))
    with pytest.raises(UsageError, match="not all in a source of 3"):
        select_records(source, [3])
    with pytest.raises(UsageError, match=r"no record '9' .*named by a record_key pass their positions .*FILE\.npy"):
        select_records(source, ["9"])
    with pytest.raises(UsageError, match=r"nowhere\.txt"):
        select_records(source, tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("source", "records", "says"),
    [
        ([1, 2, 3], np.array([True, False, True]), r"records of bool\[3\]; .*np.flatnonzero"),
        ([1, 2, 3], [True, False, True], r"records of bool\[3\]"),
        ([1, 2, 3], [0.0, 1.5], r"records of float64\[2\]"),
        ([1, 2, 3], [[0, 1]], r"records of int64\[1, 2\]"),
        ([1, 2, 3], 2, "got 2 as records"),
        (iter([1, 2]), [0], "takes a random-access source .*, not list_iterator"),
        (list, [0], "not the class list"),
        ("data.array_record", [0], "of records, not str; open the file"),
        (b"abc", [0], "of records, not bytes; open the file"),
    ],
)
def test_what_does_not_select_records(source: Any, records: Any, says: str) -> None:
    """A mask is not a list of positions: taken for one, it would select the first two records again and again."""
    with pytest.raises(UsageError, match=says):
        select_records(source, records)


@pytest.mark.parametrize(
    ("source", "options"), [(list, {}), ([], {"name": 3}), ([], {"name": ""}), ("a", {}), (b"a", {})]
)
def test_what_cannot_be_keyed(source: Any, options: dict[str, Any]) -> None:
    """A class in place of an instance, a path in place of an open file, and a name that is not text are errors."""
    with pytest.raises(UsageError, match=r"the class list|open the file|name is (3|''); it must be a string"):
        keyed(source, **options)

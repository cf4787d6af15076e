"""Names in CSV and WebDataset that look like numbers."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from label_guard.audit import audit_dataset
from label_guard.schema.dataset import DatasetSchema

NAMES = ["0", "1", "01", "1.0", "1e3", "nan", "inf", "-1", "True", "cat", "1_0", "a b"]
TEXTS = st.sampled_from([*NAMES, "2", "001", "1.", "NaN", " 1", "dog"])


IDS = {"kind": "class_label", "num_classes": 2, "dtype": "integer"}
LABEL = {"kind": "class_label", "num_classes": len(NAMES), "class_names": NAMES, "dtype": "string"}


def schema(label: dict[str, Any]) -> DatasetSchema:
    """One label ``y``."""
    return DatasetSchema.model_validate({"format": 1, "name": "n", "version": "1.0.0", "labels": {"y": label}})


def write_members(path: Path, texts: list[str]) -> None:
    """Samples with a member ``y``."""
    with tarfile.open(path, "w") as archive:
        for number, text in enumerate(texts):
            member = tarfile.TarInfo(f"{number:06}.y")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=8), quoted=st.booleans(), encoding=st.sampled_from(["utf-8", "utf-16"])
)
@example(texts=["0", "1", "0"], quoted=False, encoding="utf-8")
def test_a_name_is_its_text_in_csv_as_in_json_lines(
    tmp_path: Path, texts: list[str], quoted: bool, encoding: str
) -> None:
    """Digits, other numbers and words of the names are legal as they are written, and no other spelling of them is."""
    rows = "".join(f'x,"{text}"\n' if quoted else f"x,{text}\n" for text in texts)
    (tmp_path / "a.csv").write_text("z,y\n" + rows, encoding=encoding)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"y": text}) + "\n" for text in texts))
    write_members(tmp_path / "a.tar", [text.strip() for text in texts])
    found = []
    csv = f"csv:{tmp_path}/a.csv?encoding={encoding}"
    for source in (csv, f"jsonl:{tmp_path}/a.jsonl", f"webdataset:{tmp_path}/a.tar"):
        names = [text.strip() for text in texts] if source.endswith(".tar") else texts
        report = audit_dataset(schema(LABEL), source=source)
        found.append({one.rule for one in report.findings if one.rule != "LG403"})
        assert report.splits[0].invalid == sum(text not in NAMES for text in names)
    assert found[0] == found[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    texts=st.lists(
        st.sampled_from([*NAMES, "1e-05", "+1", ".5", "-inf", "1e400", "9" * 60, ""]), min_size=1, max_size=8
    )
)
def test_numbers_of_webdataset_are_those_of_csv(tmp_path: Path, texts: list[str]) -> None:
    """The same texts break the same rules in a column of CSV and in members of WebDataset."""
    (tmp_path / "b.csv").write_text("z,y\n" + "".join(f"x,{text}\n" for text in texts))
    write_members(tmp_path / "b.tar", texts)
    for label in (IDS, {"kind": "real_label", "maximum": 9}, {"kind": "real_label", "ignore": [None]}):
        reports = [audit_dataset(schema(label), source=f"{tmp_path}/{name}") for name in ("b.csv", "b.tar")]
        found, same = ({path: one.violations for path, one in report.splits[0].labels.items()} for report in reports)
        assert found == same


@pytest.mark.parametrize("name", ["0", "01"])
def test_kept_labels_of_numbers_are_not_taken_for_names(tmp_path: Path, name: str) -> None:
    """A label cache of a schema with ids says nothing of one with names."""
    (tmp_path / "a.csv").write_text(f"y\n{name}\n")
    for label in (IDS, LABEL, IDS):
        report = audit_dataset(schema(label), source=f"csv:{tmp_path}/a.csv", label_cache=str(tmp_path / "cache"))
        assert report.splits[0].invalid == 0

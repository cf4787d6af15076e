"""What the page shows of each kind of label and of its invalid records."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from label_guard.audit import audit_dataset
from label_guard.cli import app as cli
from label_guard.report import html as pages
from label_guard.report.audit_text import render_audit
from label_guard.schema.dataset import DatasetSchema

NASTY = "<script>alert(1)</script>\"'&]]>{{ 7*7 }}"


def page_of(folder: Path, label: dict[str, Any], **arrays: np.ndarray) -> str:
    """The page of the audit of ``arrays`` with a label ``y``."""
    np.savez(folder / "data.npz", allow_pickle=False, **arrays)
    schema = {"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": label}}
    (folder / "t.json").write_text(json.dumps(schema))
    with pytest.raises(SystemExit) as exit_:
        cli.main(
            ["audit", f"{folder}/t.json", "--source", f"npz:{folder}/data.npz", "--report", f"html={folder}/page.html"]
        )
    assert exit_.value.code == 1
    return (folder / "page.html").read_text()


@pytest.mark.parametrize("side", [8, 96, 500])
def test_a_mask_is_shown_next_to_its_picture_with_the_bad_pixel_in_red(tmp_path: Path, side: int) -> None:
    """A single invalid pixel is seen in a mask of any size, and no other pixel is red."""
    masks = np.tile(np.arange(3, dtype=np.uint8), (2, side, side))[:, :, :side].copy()
    masks[:, 0] = 255
    masks[1, side // 2, side // 4] = 7
    label = {"kind": "class_label", "num_classes": 3, "ignore": [255], "shape": [side, side]}
    page = page_of(tmp_path, label, y=masks, image=np.zeros((2, side, side, 3), np.uint8))
    found = re.findall('src="(data:image/png[^"]*)"', page)
    assert len(found) == 1
    sheet = np.array(Image.open(io.BytesIO(base64.b64decode(found[0].partition(",")[2]))).convert("RGB")).astype(int)
    size = sheet.shape[0]
    assert sheet.shape == (size, 2 * size + 2, 3)
    mask = sheet[:, size + 2 :]
    red = np.argwhere((mask[..., 0] > 200) & (mask[..., 1] < 100))
    scale = size / side
    assert len(red) in range(1, 10)
    assert np.abs(red - [side // 2 * scale, side // 4 * scale]).max() <= 2


def test_pixels_that_do_not_count_are_not_marked(tmp_path: Path) -> None:
    """What ``where`` leaves out is not checked, so it is not red either; a counted pixel is, once."""
    masks, counts = np.zeros((2, 8, 8), np.uint8), np.ones((2, 8, 8), np.uint8)
    masks[1, 2, 3], masks[1, 6, 6], counts[1, 6, 6] = 7, 7, 0
    label = {"kind": "class_label", "num_classes": 3, "shape": [8, 8], "where": "counts"}
    page = page_of(tmp_path, label, y=masks, counts=counts)
    (found,) = re.findall('src="data:image/png;base64,([^"]*)"', page)
    mask = np.array(Image.open(io.BytesIO(base64.b64decode(found))).convert("RGB")).astype(int)
    assert np.argwhere((mask[..., 0] > 200) & (mask[..., 1] < 100)).tolist() == [[2, 3]]


def test_the_text_of_an_example_is_shown(tmp_path: Path) -> None:
    """A record with a text shows its first words, escaped."""
    texts = np.array(["fine", NASTY * 9])
    page = page_of(tmp_path, {"kind": "class_label", "num_classes": 2}, y=np.array([1, 2]), text=texts)
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "fine" not in page


def test_each_kind_of_label_has_its_drawing(tmp_path: Path) -> None:
    """Numbers have histograms, a multi_label the classes that occur together, a vocabulary its last ids."""
    page = page_of(tmp_path, {"kind": "real_label", "minimum": 0}, y=np.array([1.0, 2, -3]))
    assert "Values. Not drawn: 1 below 0." in page
    page = page_of(tmp_path, {"kind": "soft_label", "num_classes": 2}, y=np.array([[0.5, 0.5], [0.9, 0.9]]))
    assert "Entropy of each row" in page
    assert "Sum of each row" in page
    page = page_of(tmp_path, {"kind": "multi_label", "num_classes": 2}, y=np.array([[1, 1], [1, 0], [3, 0]]))
    assert "Classes that occur together" in page
    assert "50.00%" in page
    tokens = np.array([*range(1000), 2001])
    page = page_of(tmp_path, {"kind": "class_label", "num_classes": 2000}, y=tokens)
    rows = re.findall(r"number\">(\d+)</th><td class=\"number\">(\d)</td><td class=\"(?:good|error)\">(\w+)", page)
    assert rows[-3:] == [("1999", "0", "yes"), ("2000", "0", "no"), ("2001", "1", "no")]


def test_invalid_values_are_listed_with_their_records_and_places(tmp_path: Path) -> None:
    """One odd value comes before many of another, each with its records; an example has its place in the label."""
    values = np.zeros((300, 2, 3), np.int32)
    values[10:290, 1, 2], values[200, 0, 1] = 9, 8
    page = page_of(tmp_path, {"kind": "class_label", "num_classes": 2, "shape": [2, 3]}, y=values)
    assert "✗ 1 error and 1 warning: 280 of 300 records are invalid" in page
    rows = re.findall(r'<th scope="row" class="number">(8|9)</th>(.*?)</tr>', page)
    assert [(value, re.findall(r">([^<]+)<", cells)) for value, cells in rows] == [
        ("8", ["1", "1", "200", "200"]), ("9", ["280", "280", "10", "289"])
    ]  # fmt: skip
    assert "<code>9</code> at <code>[1, 2]</code>" in page


def test_a_class_that_two_splits_lack_is_counted_once(tmp_path: Path) -> None:
    """The tile has the classes that some split does not use; a page without classes has no such tile."""
    for split, ids in (("train", [0, 1, 2, 3]), ("test", [0, 1]), ("dev", [0, 2])):
        np.save(tmp_path / f"{split}.npy", np.repeat(ids, 40))
    fields = {
        "format": 1, "name": "n", "version": "1.0.0", "labels": {"y": {"kind": "class_label", "num_classes": 4}},
        "splits": {split: {"source": f"npy:{tmp_path}/{split}.npy"} for split in ("train", "test", "dev")},
    }  # fmt: skip
    page = render_audit(audit_dataset(DatasetSchema.model_validate(fields)), "html")
    assert re.search(r"classes unused in a split</dt><dd class=\"\w*\">3<", page)
    page = page_of(tmp_path, {"kind": "real_label", "minimum": 0}, y=np.array([1.0, -3]))
    assert "<dt>classes" not in page


def test_the_command_that_records_todays_state_can_be_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the schema and the source of this audit, and after it the same audit has nothing new."""
    page = page_of(tmp_path, {"kind": "class_label", "num_classes": 2}, y=np.array([0, 1, 7]))
    (command,) = re.findall("<pre>label-guard (audit .*) --write-baseline known.json</pre>", page)
    known = f"{tmp_path}/known.json"
    for options, code in ((["--write-baseline", known], 0), (["--baseline", known], 0), ([], 1)):
        with pytest.raises(SystemExit) as exit_:
            cli.main([*shlex.split(html.unescape(command)), *options])
        assert exit_.value.code == code, capsys.readouterr()


@pytest.mark.parametrize("gaps", [False, True])
def test_each_of_a_million_classes_has_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gaps: bool
) -> None:
    """Where only classes in use are drawn, charts and tables name each by its id, not by its place among them."""
    monkeypatch.setattr(pages, "_MOST_IDS", 4)
    names = [f"name-{place}" for place in range(6)]
    label = {"kind": "class_label", "num_classes": 6, "class_names": names}
    ids = [place * 10 if gaps else place for place in range(6)]
    label |= {"class_ids": ids} if gaps else {}
    page = page_of(tmp_path, label, y=np.array([ids[1]] * 5 + [ids[4]] * 3 + [7]))
    named = set(re.findall(r"(\d+)(?:</th>\s*<td[^>]*>|\s)(name-\d)", page))
    assert named == {(str(ids[1]), "name-1"), (str(ids[4]), "name-4")}

"""Pictures of records that are files of their own: found by the key of a record, and only inside the dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from label_guard.cli import app
from label_guard.sources.folders import ClassFolders, YoloFolder, class_shards, file_shards, is_label_text
from label_guard.sources.json_array import CocoFormat, CocoImagesFormat

CLASSES = {"kind": "class_label", "num_classes": 1}
NAMES = {**CLASSES, "class_names": ["bee"], "dtype": "string"}
LABELS: dict[str, tuple[str, dict[str, Any], int]] = {
    "folder": ("folders", {"label": NAMES}, 3),
    "yolo": ("yolo", {"label": {**CLASSES, "shape": [None]}}, 3),
    "masks": ("masks", {"mask": {**CLASSES, "shape": [None, None]}}, 3),
    "coco": ("instances.json", {"category_id": CLASSES}, 3),
    "coco_images": ("instances.json", {"category_id": {**CLASSES, "shape": [None]}}, 3),
}


@pytest.mark.parametrize("scheme", LABELS)
def test_the_html_report_shows_the_picture_of_an_example(insects: Path, tmp_path: Path, scheme: str) -> None:
    """Without an option that keeps all invalid records, too."""
    where, labels, least = LABELS[scheme]
    split = {"train": {"source": f"{scheme}:{insects / where}"}}
    values = {"format": 1, "name": "x", "version": "1.0.0", "labels": labels, "splits": split}
    (tmp_path / "s.yaml").write_text(json.dumps(values))
    reports = [f"--report={form}={tmp_path}/a.{form}" for form in ("html", "json")]
    with pytest.raises(SystemExit) as exit_:
        app.main(["audit", f"{tmp_path}/s.yaml", *reports])
    assert exit_.value.code == 1
    shown = json.loads((tmp_path / "a.json").read_text())["thumbnails"]["train"]
    assert len(shown) >= least
    assert all(one.startswith("data:image/png;base64,") for one in shown.values())


def _coco(folder: Path, names: list[object]) -> Path:
    path = folder / "instances_val2017.json"
    images = [{"id": k, "file_name": name} for k, name in enumerate(names)]
    annotations = [{"image_id": k, "category_id": 1} for k in [*range(len(names)), 99]]
    path.write_text(json.dumps({"annotations": annotations, "images": images}))
    return path


def _picture(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    return path.name


@pytest.mark.parametrize("place", ["", "images", "val2017", "../images", "../val2017"])
def test_pictures_of_coco_are_where_people_keep_them(tmp_path: Path, place: str) -> None:
    """Next to the file, in a folder there, or in one next to the folder of the file."""
    (tmp_path / "d" / "annotations").mkdir(parents=True)
    name = _picture((tmp_path / "d" / "annotations" / place / "a.png").resolve())
    path = _coco(tmp_path / "d" / "annotations", [name, "gone.png"])
    for form in (CocoFormat(), CocoImagesFormat()):
        if form.name == "coco":
            assert list(form.pictures(str(path), [0, 1, 2, 50])) == [0]
        assert Path(form.pictures(str(path), [0])[0]).read_bytes().startswith(b"\x89PNG")
        assert form.pictures(str(path), []) == {}


def test_a_name_that_leads_out_of_the_dataset_is_not_followed(tmp_path: Path) -> None:
    """``..``, absolute paths, links, folders, pipes, and what is not a name."""
    secret = tmp_path / "secret" / "s.png"
    _picture(secret)
    (tmp_path / "d" / "images").mkdir(parents=True)
    (tmp_path / "d" / "images" / "link.png").symlink_to(secret)
    os.mkfifo(tmp_path / "d" / "pipe.png")
    outside = ["../secret/s.png", "../../secret/s.png", str(secret), "link.png", "secret/s.png", "pipe.png"]
    path = _coco(tmp_path / "d", [*outside, "images", "", ".", "..", "a\0b", None, 7, ["x"], "x" * 5000])
    assert CocoFormat().pictures(str(path), range(99)) == {}


def test_a_link_that_leads_out_of_the_dataset_is_not_followed(tmp_path: Path) -> None:
    """Of a picture, and of the folder it is in; a link within the dataset is followed."""
    secret = tmp_path / "secret"
    _picture(secret / "s.png")
    for inner in ("coco", "classes/bee", "yolo/labels", "yolo/images"):
        (tmp_path / inner).mkdir(parents=True)
    (tmp_path / "coco" / "images").symlink_to(secret)
    assert CocoFormat().pictures(str(_coco(tmp_path / "coco", ["s.png"])), [0]) == {}
    _picture(tmp_path / "classes" / "bee" / "a.png")
    for name, target in (("b.png", tmp_path / "classes" / "bee" / "a.png"), ("c.png", secret / "s.png")):
        (tmp_path / "classes" / "bee" / name).symlink_to(target)
    (tmp_path / "classes" / "wasp").symlink_to(secret)
    bees, wasps = class_shards(str(tmp_path / "classes"))
    assert list(ClassFolders().pictures(bees.path, range(9))) == [0, 1]
    assert ClassFolders().pictures(wasps.path, range(9)) == {}
    (tmp_path / "yolo" / "labels" / "s.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "yolo" / "images" / "s.png").symlink_to(secret / "s.png")
    (shard,) = file_shards(str(tmp_path / "yolo" / "labels"), is_label_text, "texts")
    assert YoloFolder().pictures(shard.path, [0]) == {}
    (tmp_path / "yolo" / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "yolo" / "images").symlink_to(secret)
    assert YoloFolder().pictures(shard.path, [0]) == {}


def test_annotations_of_no_image_have_no_picture(tmp_path: Path) -> None:
    """Whatever value is in the place of the image's id."""
    path = _coco(tmp_path, ["a.png"])
    _picture(tmp_path / "a.png")
    content = json.loads(path.read_text())
    content["annotations"] = [{"image_id": value} for value in ([1], {}, None, 1.5, "1", 0)]
    content["images"].append({"id": [1], "file_name": "a.png"})
    path.write_text(json.dumps(content))
    assert CocoFormat().pictures(str(path), range(6)) == {5: str(tmp_path / "a.png")}


def test_pictures_of_folders(tmp_path: Path) -> None:
    """Of a class folder the file; of a YOLO text the picture in ``images``, whatever its ending, or next to it."""
    _picture(tmp_path / "classes" / "bee" / "a__1.png")
    (shard,) = class_shards(str(tmp_path / "classes"))
    assert ClassFolders().rows(shard.path, ["bee/a__1.png", "bee/gone.png"]) == {0: "bee/a__1.png"}
    assert ClassFolders().pictures(shard.path, [0, 9]) == {0: str(tmp_path / "classes" / "bee" / "a__1.png")}
    texts = tmp_path / "labels" / "labels" / "train"
    texts.mkdir(parents=True)
    for name in ("a", "b", "c"):
        (texts / f"{name}.txt").write_text("0 0.5 0.5 1 1\n")
    _picture(tmp_path / "labels" / "images" / "train" / "a.JPG")
    _picture(texts / "b.png")
    (shard,) = file_shards(str(texts), is_label_text, "texts")
    found = YoloFolder().pictures(shard.path, [0, 1, 2])
    assert {row: Path(file).name for row, file in found.items()} == {0: "a.JPG", 1: "b.png"}

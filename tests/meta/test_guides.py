"""Guides that are programs: every page below runs from its first Python block to its last and prints what it shows."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from label_guard import load_schema
from label_guard.cli import app as cli

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import notebooks

DOCS = Path(__file__).parents[2] / "docs"


COMMANDS = ("language_models.md", "recover.md")  # whose label-guard commands run, too


@pytest.mark.parametrize("page", ["segmentation.md", "detection.md", "index.md", *COMMANDS])
def test_a_guide_prints_what_it_shows(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python blocks, run one after another, print the text blocks that follow them."""
    text = (DOCS / page).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for language, block in re.findall(r"^```(python|text|console)\n(.*?)^```", text, re.M | re.S):
        if language == "python":
            exec(compile(block, page, "exec"), names)
        elif language == "text":
            assert capsys.readouterr().out == block
        elif page in COMMANDS:
            for line in re.findall(r"^\$ label-guard (.*)$", block, re.M):
                command, _, note = line.partition("#")
                with pytest.raises(SystemExit) as ended:
                    cli.main(shlex.split(command))
                assert ended.value.code == int("exits with 1" in note), capsys.readouterr()
            capsys.readouterr()


@pytest.mark.parametrize("page", ["segmentation.md", "detection.md"])
def test_the_schema_of_a_guide_loads(page: str, tmp_path: Path) -> None:
    """The YAML shown is a sound schema."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "schema.yaml").write_text(block)
    assert load_schema(tmp_path / "schema.yaml").labels


def test_the_guide_to_detection_audits_a_coco_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first command finds nothing in images with several boxes, with one and with none; then it finds a bad box."""
    text = (DOCS / "detection.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("traffic.yaml").write_text(*re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S))
    names = {1: "car", 2: "bus", 4: "bike", 8: "sign"}
    boxes = [(1, 1, [0.5, 2, 3, 4]), (1, 8, [1, 2, 3, 4]), (2, 4, [10, 20.5, 30, 40])]
    Path("annotations").mkdir()
    command = shlex.split(re.findall(r"^\$ label-guard (.*)$", text, re.M)[0])
    for added, code in (([], 0), ([(3, 2, [1, 2.5, -3, 4])], 1)):
        content = {
            "images": [{"id": image, "file_name": f"{image}.jpg"} for image in (1, 2, 3)],
            "categories": [{"id": number, "name": name} for number, name in names.items()],
            "annotations": [
                {"id": number, "image_id": image, "category_id": category, "bbox": box}
                for number, (image, category, box) in enumerate([*boxes, *added])
            ],
        }
        Path("annotations/instances_train.json").write_text(json.dumps(content))
        with pytest.raises(SystemExit) as ended:
            cli.main(command)
        assert ended.value.code == code


@pytest.mark.parametrize("notebook", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_prints(notebook: Path) -> None:
    """Each cell runs, and its stored output is that of today: python scripts/notebooks.py writes it."""
    stored = notebooks.read(notebook)
    assert notebooks.run(stored) == stored

"""The HTML report in a real browser: drawn, inert, and without a violation that axe finds."""

from __future__ import annotations

import html
import importlib.resources
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from label_guard import DatasetSchema
from label_guard.audit.runner import audit_dataset
from label_guard.report.audit_text import render_audit

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# In CI a missing browser is a failure, not a skip: `.ci/run` installs one.
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="needs Chromium: apt install chromium"
)
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--virtual-time-budget=5000"]  # fmt: skip
NASTY = "<script>document.title = 'ran'</script>\"'&]]>"


def browse(folder: Path, text: str, *options: str) -> str:
    """What headless Chromium prints of the page."""
    assert CHROMIUM is not None, "no Chromium on the PATH"
    (folder / "page.html").write_text(text)
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}/profile", *options, (folder / "page.html").as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def report_of(folder: Path, name: str = "digits") -> str:
    """The page of an audit of two splits with 300 classes, a mask with sentinels and a score, with invalid values."""
    rng = np.random.default_rng(0)
    for split, size in (("train", 400), ("test", 100)):
        labels = rng.zipf(1.3, size) % 300
        labels[:3] = [300, -1, 999]
        mask = rng.integers(0, 3, (size, 4, 4)).astype(np.uint8)
        mask[:, 0] = 255
        np.savez(folder / f"{split}.npz", label=labels, mask=mask, score=rng.random(size))
    labels = {
        "label": {"kind": "class_label", "num_classes": 300, "class_names": [f"{name} {k}" for k in range(300)]},
        "mask": {"kind": "class_label", "num_classes": 3, "ignore": [255], "shape": [4, 4]},
        "score": {"kind": "real_label", "minimum": 0.1},
    }
    splits = {split: {"source": f"npz:{folder}/{split}.npz"} for split in ("train", "test")}
    fields = {"format": 1, "name": "planted", "version": "1.0.0", "labels": labels, "splits": splits}
    return render_audit(audit_dataset(DatasetSchema.model_validate(fields)), "html")


def test_a_browser_shows_the_page_and_runs_nothing(tmp_path: Path) -> None:
    """Chromium parses the page into what was written, and no text from data becomes a script."""
    dom = browse(tmp_path, report_of(tmp_path, NASTY), "--dump-dom")
    assert dom.count('<div class="plot') == 4 * 4 + 2  # in two splits, four charts of two labels and a histogram of one
    assert "<script" not in dom
    assert re.findall("<title>.*?</title>", dom)[0] == "<title>Audit of planted 1.0.0</title>"


DARK = "--blink-settings=preferredColorScheme=0"


def violations(folder: Path, page: str, *options: str) -> list[list[str]]:
    """Rule and first element of each violation that axe-core finds."""
    axe = (importlib.resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    run = (
        "axe.run().then(found => { document.title = JSON.stringify(found.violations.map(v => [v.id, v.nodes[0].html]))"
    )
    page = re.sub("<meta http-equiv[^>]*>", "", page)  # its policy forbids scripts, axe included
    page = page.replace("</body>", f"<script>{axe}</script><script>{run} }})</script></body>")
    dom = browse(folder, page, "--dump-dom", *options)
    return json.loads(html.unescape(re.findall("<title>(.*?)</title>", dom)[0]))


@pytest.mark.parametrize("options", [[], [DARK]], ids=["light", "dark"])
def test_axe_finds_no_violation(tmp_path: Path, options: list[str]) -> None:
    """Names, roles, order, contrast: no rule of axe-core is violated, in light and in dark mode."""
    assert violations(tmp_path, report_of(tmp_path), *options) == []


def test_axe_finds_what_is_wrong(tmp_path: Path) -> None:
    """The test above can fail, in either mode: grey text that is readable on a dark page alone."""
    page = (
        report_of(tmp_path).replace("--quiet: #57606a", "--quiet: #e0e0e0").replace("--quiet: #a3adb8", "--quiet: #333")
    )
    assert {rule for rule, _ in violations(tmp_path, page)} == {"color-contrast"}
    assert {rule for rule, _ in violations(tmp_path, page, DARK)} == {"color-contrast"}


@pytest.mark.parametrize("width", [390, 1440])
def test_the_charts_are_drawn_within_the_window(tmp_path: Path, width: int) -> None:
    """On a narrow and a wide window the bars can be seen and stay inside the window."""
    target = tmp_path / "page.png"
    browse(tmp_path, report_of(tmp_path), f"--window-size={width},4000", f"--screenshot={target}", "--hide-scrollbars")
    pixels = np.asarray(Image.open(target).convert("RGB"))
    blue = (pixels == (0x0B, 0x62, 0xC4)).all(axis=2)
    assert pixels.shape[1] >= width
    assert blue.sum() > 1000
    assert not blue[:, -4:].any()

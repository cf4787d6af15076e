"""Takes pictures of HTML reports in headless Chromium: ``make screenshots``.

python scripts/screenshots.py FOLDER [--readme docs/images/report.png]

Audits made-up datasets of several kinds and writes one page and, for a wide and a narrow window, one picture each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Made = tuple[Mapping[str, Any], Mapping[str, Mapping[str, np.ndarray]]]  # labels of the schema, arrays by split
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars"]  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"


def digits(rng: np.random.Generator) -> Made:
    """Ten classes; 400 labels in a row count from 1, three are 255, and the test split lacks the nine."""
    train = rng.integers(0, 10, 1500)
    train[300:700] += 1
    train[[7, 700, 1400]] = 255
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    labels = {"label": {"kind": "class_label", "num_classes": 10, "class_names": names}}
    return labels, {"train": {"label": train}, "test": {"label": rng.integers(0, 9, 297)}}


def thousand(rng: np.random.Generator) -> Made:
    """A thousand classes with a long tail, in three splits."""
    labels = {
        "label": {"kind": "class_label", "num_classes": 1000, "class_names": [f"species {k}" for k in range(1000)]}
    }
    sizes = {"train": 50_000, "validation": 5_000, "test": 5_000}
    return labels, {split: {"label": rng.zipf(1.3, size) % 1000} for split, size in sizes.items()}


def masks(rng: np.random.Generator) -> Made:
    """Masks of 19 classes with a border of 255 and stray pixels of 77."""
    found = rng.integers(0, 19, (60, 64, 64)).astype(np.uint8)
    found[:, 0] = 255
    found[:, 20:40, 10:50] = 11
    found[::7, 30, 25] = 77
    images = (found[..., None] * np.array([9, 5, 3]) + rng.integers(0, 60, (60, 64, 64, 3))).astype(np.uint8)
    return {"mask": {"kind": "class_label", "num_classes": 19, "ignore": [255], "shape": [64, 64]}}, {
        "train": {"mask": found, "image": images}
    }


def sentences(rng: np.random.Generator) -> Made:
    """Reviews with a sentiment; the third class is not declared."""
    words = np.array(["good", "film", "the", "plot", "slow", "a", "never", "again", "best", "year"])
    texts = np.array([" ".join(words[rng.integers(0, 10, 12)]) for _ in range(400)])
    labels = rng.integers(0, 2, 400)
    labels[::90] = 2
    return {"label": {"kind": "class_label", "num_classes": 2, "class_names": ["negative", "positive"]}}, {
        "train": {"label": labels, "text": texts}
    }


def findings(rng: np.random.Generator) -> Made:
    """Fourteen findings of which some records have a value of 3."""
    found = (rng.random((400, 14)) < 0.1).astype(np.int8)
    found[::50, 2] = 3
    return {"findings": {"kind": "multi_label", "num_classes": 14}}, {"train": {"findings": found}}


def soft(rng: np.random.Generator) -> Made:
    """Probabilities, some of which do not sum to 1."""
    found = rng.dirichlet(np.ones(5), 300).astype(np.float32)
    found[::30] *= 1.2
    return {"soft": {"kind": "soft_label", "num_classes": 5}}, {"train": {"soft": found}}


def regression(rng: np.random.Generator) -> Made:
    """Ages with a NaN and two below zero."""
    found = rng.normal(40, 12, 500)
    found[[3, 4, 5]] = [np.nan, -1, -999]
    return {"age": {"kind": "real_label", "minimum": 0, "maximum": 120}}, {"train": {"age": found}}


def tokens(rng: np.random.Generator) -> Made:
    """Token ids of a vocabulary of 50,000, three of them at its end."""
    found = (rng.zipf(1.2, (1000, 128)) % 50_003).astype(np.int32)
    return {"tokens": {"kind": "class_label", "num_classes": 50_000, "shape": [128]}}, {"train": {"tokens": found}}


DATASETS: Mapping[str, Callable[[np.random.Generator], Made]] = {
    made.__name__: made for made in (digits, thousand, masks, findings, soft, regression, tokens, sentences)
}


def page_of(name: str, folder: Path) -> str:
    """The HTML report of one of ``DATASETS``."""
    labels, splits = DATASETS[name](np.random.default_rng(0))
    for split, arrays in splits.items():
        np.savez(folder / f"{split}.npz", allow_pickle=False, **arrays)
    sources = {split: {"source": f"npz:{split}.npz"} for split in splits}
    fields = {"format": 1, "name": name, "version": "1.0.0", "labels": labels, "splits": sources}
    (folder / "schema.json").write_text(json.dumps(fields))
    command = [sys.executable, "-m", "label_guard", "audit", "schema.json", "--report", "html=page.html"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if not (folder / "page.html").exists():
        sys.exit(done.stderr)
    page = (folder / "page.html").read_text(encoding="utf-8")
    return page.replace(f"{folder}/", "data/")


def take(page: Path, picture: Path, width: int, height: int, *options: str) -> None:
    """Writes a picture of ``page`` in a window of ``width`` x ``height`` pixels."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium on the PATH; on Debian: apt install chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", *options]
        subprocess.run([*command, f"--screenshot={picture}", page.resolve().as_uri()], check=True, capture_output=True)


def main() -> None:
    """Makes every page and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readme", type=Path, help="where to write the picture that the README shows")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in DATASETS:
        page = options.folder / f"{name}.html"
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(page_of(name, Path(folder)), encoding="utf-8")
        for width, height in ((1440, 2400), (390, 3200)):
            take(page, options.folder / f"{name}-{width}.png", width, height)
            take(page, options.folder / f"{name}-{width}-dark.png", width, height, DARK)
        print(f"{name:12}{page.stat().st_size:>10,} bytes")
    if options.readme:
        take(options.folder / "digits.html", options.readme, 1200, 1320)


if __name__ == "__main__":
    main()

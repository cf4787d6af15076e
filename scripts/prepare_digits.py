"""Package scikit-learn's handwritten digits (1,797 real scans) as a TFDS ArrayRecord folder. Offline, no TensorFlow.

    python scripts/prepare_digits.py data            # makes data/digits/1.0.0

Train has 1,500 records, test 297, drawn once with a fixed seed; ``id`` is the position in scikit-learn's set.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from sklearn.datasets import load_digits

TRAIN_EXAMPLES = 1500


class Digits(tfds.core.GeneratorBasedBuilder):
    """8x8 grey scans of handwritten digits."""

    VERSION = tfds.core.Version("1.0.0")
    copies = 1  # of every scan; more where speed is measured

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint8, encoding_format="png"),
            "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
            "id": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="scikit-learn's load_digits: 1,797 scans of handwritten digits, 8x8 pixels.",
            homepage="https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_digits.html",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        del dl_manager  # nothing is downloaded: the scans come with scikit-learn
        order = np.random.default_rng(0).permutation(1797)
        return {
            "train": self._generate_examples(order[:TRAIN_EXAMPLES]),
            "test": self._generate_examples(order[TRAIN_EXAMPLES:]),
        }

    def _generate_examples(self, positions: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        digits = load_digits()
        for position in positions:
            pixels = (digits.images[position] * 16).clip(0, 255).astype(np.uint8)
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            for copy in range(self.copies):
                name = f"{position:04}" if self.copies == 1 else f"{position:04}-{copy}"
                yield name, {"image": png.getvalue(), "label": int(digits.target[position]), "id": name}


def prepare(data_dir: Path, copies: int = 1) -> Path:
    """Make the dataset below ``data_dir``, unless it is there; the folder of its version."""
    tfds.disable_progress_bar()
    builder = Digits(data_dir=data_dir, file_format="array_record")
    builder.copies = copies
    config = tfds.download.DownloadConfig(
        try_download_gcs=False, compute_stats=tfds.download.ComputeStatsMode.SKIP, num_shards=3
    )
    with contextlib.redirect_stdout(None):  # it would announce a download that does not happen
        builder.download_and_prepare(download_config=config)
    return Path(builder.data_dir)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    print(prepare(parser.parse_args().data_dir))

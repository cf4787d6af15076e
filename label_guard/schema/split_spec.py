"""Names of splits and of their parts, as TFDS and Hugging Face write them: ``train[:90%]+test``."""

from __future__ import annotations

import re

from label_guard.errors import UsageError

_BOUND = r"-?[0-9][0-9_]*(\.[0-9]+)?(%|shard)?"
_PART = re.compile(rf"([^][()+]+)(\[(({_BOUND})?:({_BOUND})?|{_BOUND})\](\((closest|pct1_dropremainder)\))?)?")


def is_training(split: str) -> bool:
    """Whether a model is trained on ``split``, by its name.

    >>> is_training("train"), is_training("Training"), is_training("test")
    (True, True, False)
    """
    return split.casefold().startswith("train")


def split_bases(split: str) -> set[str]:
    """Names of the splits that ``split`` takes records from.

    Raises:
        UsageError: ``split`` is not of the form of TFDS.

    >>> sorted(split_bases("train[:90%] + test"))
    ['test', 'train']
    """
    found = [_PART.fullmatch(part.strip()) for part in split.split("+")]
    bases = {match[1].strip() for match in found if match}
    if None in found or "" in bases:
        raise UsageError(
            f"split {split!r} is malformed; expected a name such as train, a part of it such as train[:90%], "
            "train[10%:20%] or train[100:200], or several joined by +"
        )
    return bases

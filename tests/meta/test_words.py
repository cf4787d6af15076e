"""Plain English: docs, docstrings, comments and messages avoid words that readers of the field stumble over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.source

ROOT = Path(__file__).parents[2]
PLACES = ["*.md", "docs/**/*.md", "label_guard/**/*.py", "label_guard/**/*.j2", "scripts/**/*.py", "configs/**/*.yaml"]
PLACES += ["tests/**/*.py", ".github/**/*"]
BANNED = re.compile(
    r"(?i)(?<![\w-])(?:told|tells?|mend(?:s|ed|ing)?|stands|vouch\w*|heed\w*|anew|judge[sd]?|judging|besides|torment\w*|beside"
    r"|otherwise than|without a word|hangs? on|in the making|for ever|becomes of)(?![\w(-])"
    r"|(?<!\w)(?:stand(?! for\b)|stood|bears|naught|thereof)(?![\w(-])"
    r"|reckon\w*|held against|what of (?:its|your|them|the)\b|robbed"
    r"|(?<!here )\b(?:is|are) no (?!longer\b|more than\b|\d)(?=[a-z])"
)


def banned_words(text: str) -> list[str]:
    """Each banned word with its line number."""
    return [
        f"{number}: {found[0]!r}" for number, line in enumerate(text.splitlines(), 1) for found in BANNED.finditer(line)
    ]


@pytest.mark.parametrize("place", PLACES)
def test_no_text_holds_a_banned_word(place: str) -> None:
    """A reader of optax, Grain or ruff understands each sentence at first reading."""
    files = [path for path in ROOT.glob(place) if path.is_file() and path != Path(__file__)]
    assert files
    found = {str(path.relative_to(ROOT)): banned_words(path.read_text(encoding="utf-8")) for path in files}
    assert {path: words for path, words in found.items() if words} == {}


def test_the_check_finds_what_it_is_for() -> None:
    """The test above can fail."""
    assert len(banned_words("it is no file\nwithout a word\nhe told\njudged\nbeside it\nkeys that stand here\n")) == 6
    assert banned_words("it is no longer there; this is not one; -1 may stand for 0\n") == []

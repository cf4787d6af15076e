"""Plain English: docs, docstrings, comments and messages avoid words that readers of the field stumble over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.source

ROOT = Path(__file__).parents[2]
FILES = sorted(
    [
        ROOT / "README.md",
        *(page for page in ROOT.glob("*.md") if page.name != "README.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "label_guard").rglob("*.py"),
        *(ROOT / "label_guard").rglob("*.j2"),
        *(ROOT / "scripts").rglob("*.py"),
        *(ROOT / "configs").rglob("*.yaml"),
    ]
)
BANNED = re.compile(
    r"(?i)(?<![\w-])(?:told|tells?|mend(?:s|ed|ing)?|stands|vouch\w*|heed\w*|anew|judge[sd]?|judging|besides|torment\w*"
    r"|otherwise than|without a word|hangs? on|in the making|for ever|becomes of)(?![\w(-])"
    r"|(?<!here )\b(?:is|are) no (?!longer\b|more than\b|\d)(?=[a-z])"
)


def banned_words(text: str) -> list[str]:
    """Each banned word with its line number."""
    return [
        f"{number}: {found[0]!r}" for number, line in enumerate(text.splitlines(), 1) for found in BANNED.finditer(line)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_holds_a_banned_word(path: Path) -> None:
    """A reader of optax, Grain or ruff understands each sentence at first reading."""
    assert banned_words(path.read_text(encoding="utf-8")) == []


def test_the_check_finds_what_it_is_for() -> None:
    """The test above can fail."""
    assert len(banned_words("it is no file\nwithout a word\nhe told\njudged\n")) == 4
    assert banned_words("it is no longer there; this is not one\n") == []

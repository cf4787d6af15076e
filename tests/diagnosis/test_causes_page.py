"""docs/causes.md has a section for every cause that can be named."""

from __future__ import annotations

import re
from pathlib import Path

import label_guard

ROOT = Path(__file__).parents[2]
PACKAGE = Path(label_guard.__file__).parent  # the installed one, where a wheel is tested
NAMED = re.compile(
    r'(?:LikelyCause|with_alternatives)\(\s*"([a-z0-9-]+)"'
    r'|(?:Reading|OtherCause)\(\s*"([a-z0-9-]+)"'
    r'|return "([a-z-]+-[a-z-]+)"'
)


def test_every_cause_has_a_section() -> None:
    """Each name in the code of the diagnosis has a heading on the page, and each heading is a name."""
    code = "".join(path.read_text() for path in sorted((PACKAGE / "diagnosis").glob("*.py")))
    named = {name for groups in NAMED.findall(code) for name in groups if name}
    named |= {"noise", "unlabeled-records", "last-for-zero", "int8-wrap", "corrupt-block", "mixed-conventions"}
    page = (ROOT / "docs" / "causes.md").read_text()
    sections = set(re.findall(r"^### ([a-z0-9-]+)$", page, re.MULTILINE))
    assert named - sections == set()
    missing = {name for name in sections if f'"{name}"' not in code and not name.endswith("-wrap")}
    assert missing == set()


def test_every_section_says_when_what_else_and_what_to_do_with_the_data() -> None:
    """Each cause has its conditions, its rivals and an advice for the data, before any change of the schema."""
    page = (ROOT / "docs" / "causes.md").read_text()
    sections = dict(re.findall(r"^### ([a-z0-9-]+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    points = {name: re.findall(r"^- \*\*([A-Za-z ]+):\*\* \S", text, re.MULTILINE) for name, text in sections.items()}
    expected = ["Seen", "May also be", "Data", "Schema"]
    assert {name for name, found in points.items() if found not in (expected, expected[:3])} == set()

"""A ``DatasetSchema`` as YAML text that any reader, YAML 1.1 or 1.2, loads back equal."""

from __future__ import annotations

import re
from typing import Any, cast

from label_guard.core.escape import break_commands
from label_guard.schema.dataset import DatasetSchema

# Plain in YAML 1.1 and 1.2 alike; words that 1.1 takes for booleans or null are quoted like everything else.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./()-]+)*")
_SEMVER = re.compile(r"\d+\.\d+\.\d+")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_FIRST = ("kind", "num_classes", "class_names", "class_ids")
_WIDTH = 100


def dump_schema(schema: DatasetSchema) -> str:
    """YAML text of a schema; only the fields that were set are written.

    >>> print(dump_schema(DatasetSchema(
    ...     format=1, name="answers", version="1.0.0",
    ...     labels={"label": {"kind": "class_label", "num_classes": 2, "class_names": ["no", "maybe"]}},
    ... )), end="")
    format: 1
    name: answers
    version: 1.0.0
    labels:
      label:
        kind: class_label
        num_classes: 2
        class_names: ["no", maybe]
    """
    values = schema.model_dump(mode="json", exclude_unset=True)
    lines: list[str] = []
    for key, value in values.items():
        if key not in ("labels", "splits", "views") or not value:
            lines += _entry(key, value, "")
            continue
        lines.append(f"{key}:")
        for name, section in value.items():
            if key == "labels":
                lines.append(f"  {quoted(name)}:")
                for field in dict.fromkeys((*_FIRST, *section)):
                    lines += _entry(field, section[field], "    ") if field in section else []
            else:
                lines += _entry(name, section, "  ")
    return "".join(f"{line}\n" for line in lines)


def _entry(key: str, value: Any, indent: str) -> list[str]:
    """``key: value`` on one line, or a long list folded below its key."""
    if key == "dtype" and len(value) == 1:
        value = value[0]
    line = f"{indent}{quoted(key)}: {flow(value)}"
    if len(line) <= _WIDTH or not isinstance(value, list):
        return [line]
    lines, current = [f"{indent}{quoted(key)}:"], f"{indent}  ["
    items = cast("list[Any]", value)
    for position, item in enumerate(items):
        text = flow(item) + (", " if position < len(items) - 1 else "]")
        if len(current) + len(text.rstrip()) > _WIDTH:
            lines.append(current.rstrip())
            current = f"{indent}   "
        current += text
    return [*lines, current]


def flow(value: Any) -> str:
    """A value in flow style, on one line."""
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{quoted(key)}: {flow(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, cast("list[Any]", value))) + "]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float):
        if value != value:
            return ".nan"
        text = repr(value)
        # YAML 1.1 takes 1e-05 for a string: it wants the dot.
        return text.replace("e", ".0e") if "e" in text and "." not in text else text.replace("inf", ".inf")
    return "null" if value is None else str(value).lower()


def quoted(text: str) -> str:
    """A string as YAML: plain where every reader takes it for a string, else in double quotes.

    >>> print(quoted("fire truck"), quoted("no"), quoted("010"), quoted("bow: tie"))
    fire truck "no" "010" "bow: tie"
    """
    plain = (_PLAIN.fullmatch(text) and text.lower() not in _WORDS) or _SEMVER.fullmatch(text)
    # The log of a CI runner may show a draft.
    return text if plain else '"' + break_commands("".join(map(_escaped, text)), "\\x23") + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    # The byte order mark, and the line breaks that only YAML 1.1 knows, print but do not survive.
    return character if character.isprintable() else f"\\U{ord(character):08x}"

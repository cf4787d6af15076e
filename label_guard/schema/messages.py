"""Turns pydantic's errors into messages about the schema file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from label_guard.core.similar import MAX_SHOWN, closest, listed, near_name, shortened
from label_guard.schema.fields import FixKind, Problem, SchemaPath
from label_guard.schema.labels import KINDS

MAX_SUGGESTIONS = MAX_SHOWN  # unknown names of one file whose near name is looked for
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")  # text that means the same number without its quotes

_WANTED = {
    "int_type": "an integer",
    "string_type": "a string",
    "bool_type": "true or false",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "number_type": "a number",
    "sentinel_type": "a number, .nan or null",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}
# Fields with a rule of their own: what to add where they are missing, what is wrong with another value, and its fix.
_RULES: dict[SchemaPath, tuple[str, str, str, str, FixKind]] = {
    ("format",): (
        "LG208", "format: 1", "is not one that this release reads",
        "write format: 1, or install a newer label-guard", "",
    ),
    ("version",): (
        "LG209", "version: 1.0.0", "is not a semantic version",
        "write three numbers, such as version: 1.0.0", "version",
    ),
}  # fmt: skip
# Texts of other formats for what was not measured.
_UNMEASURED = {"nan": ".nan", "null": "null", "none": "null", "na": "null", "n/a": "null", "": "null"}
_SYNONYMS = {
    "classes": "num_classes", "n_classes": "num_classes", "nclasses": "num_classes", "names": "class_names",
    "ignore_index": "ignore", "ignore_label": "ignore", "ignore_class": "ignore", "ignore_value": "ignore",
    "ignore_values": "ignore", "type": "kind", "key": "record_key", "min": "minimum", "max": "maximum",
    "size": "num_examples", "count": "num_examples",
}  # fmt: skip


def in_words(errors: Sequence[Any]) -> Iterator[Problem]:
    """One problem for each mistake in ``errors`` (pydantic's error details).

    Args:
        errors: details, each with ``fields`` added: the names that the section of the mistake knows.
    """
    problems: dict[SchemaPath, Problem] = {}
    places = [_place(tuple(found["loc"])) for found in errors]
    meant_branch = {field: branch for field, branch, rest in places if rest}
    unknown = 0
    for found, (field, branch, rest) in zip(errors, places, strict=True):
        path = (*field, *rest)
        if path not in problems and meant_branch.get(field, branch) == branch:
            unknown += found["type"] == "extra_forbidden"
            problems[path] = _problem(found, path, look_for_near=unknown <= MAX_SUGGESTIONS)
    # A field under a wrong name is not missing as well.
    meant = {(*path[:-1], problem.replacement) for path, problem in problems.items() if problem.kind == "rename"}
    yield from (problem for path, problem in problems.items() if problem.kind != "missing" or path not in meant)


def _place(loc: SchemaPath) -> tuple[SchemaPath, str | int, SchemaPath]:
    """The field of an error, the branch of ``class_ids`` (a list or a range) that it is about, and what is below it."""
    match loc:
        case (
            ("class_ids", branch, *rest)
            | ("labels", _, "class_ids", branch, *rest)
            | ("splits" | "views", _, "labels", _, "class_ids", branch, *rest)
        ):
            return loc[: -1 - len(rest)], branch, tuple(rest)
        case _:
            return loc, "", ()


def _problem(error: Any, path: SchemaPath, look_for_near: bool) -> Problem:
    kind, value = error["type"], error["input"]
    if path[-1:] == ("[key]",):
        return Problem("LG207", path[:-1], f"{shown(path[-2])} is not the name of a split", "name the whole split")
    if kind == "missing":
        rule, line, *_ = _RULES.get(path, ("LG207", path[-1]))
        return Problem(rule, path, f"{path[-1]} is missing", f"add {line}", "missing")
    if path in _RULES:
        rule, _, what, fix, fix_kind = _RULES[path]
        return Problem(rule, path, f"{path[-1]} {shown(value)} {what}", fix, fix_kind)
    if kind == "extra_forbidden":
        return _unknown(path, value, error["fields"], look_for_near)
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        where = (*path, "kind")
        if kind == "union_tag_not_found" and "<<" in value:
            return _merged((*path, "<<"))
        if kind == "union_tag_not_found":
            return Problem("LG207", where, "kind is missing", f"add kind: one of {', '.join(KINDS)}", "missing")
        tag = error["ctx"]["tag"]
        return Problem("LG207", where, f"kind {tag!r} is not known", suggestion(tag, KINDS))
    is_class_name = path[-2:-1] == ("class_names",) and isinstance(path[-1], int)
    if kind == "string_type" and is_class_name and not isinstance(value, dict | list):
        return Problem("LG212", path, f"class name {shown(value)} is not a string", "put it in quotes")
    return _wrong_value(error, path)


def _wrong_value(error: Any, path: SchemaPath) -> Problem:
    kind, value, name = error["type"], error["input"], _name(path)
    if kind == "literal_error":
        choices = [choice.strip("'") for choice in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return Problem("LG207", path, f"{name} {shown(value)} is not known", suggestion(str(value), choices))
    if kind == "too_short":
        return Problem("LG207", path, f"{name} must not be empty", "declare at least one")
    if kind == "string_too_short":
        return Problem("LG207", path, f"{name} must not be empty", "")
    message = f"{name} must be {_wanted(error)}, got {shown(value)}"
    return Problem("LG207", path, message, *_fix(kind, path, value))


def _unknown(path: SchemaPath, value: object, fields: Sequence[str], look_for_near: bool) -> Problem:
    name = str(path[-1])
    if name == "<<":
        return _merged(path)
    if path[:-1] == ("limits",) and isinstance(value, dict):
        fix = f"put the limits of a split there: splits: {{{name}: {{limits: ...}}}}"
        return Problem("LG206", path, f"unknown field {name!r}", fix)
    if "limits" in fields and name in ("max_invalid_ratio", "min_class_count"):
        return Problem("LG206", path, f"unknown field {name!r}", f"put it under limits: limits: {{{name}: ...}}")
    near = near_name(name, fields, _SYNONYMS) if look_for_near else None
    if near is not None:
        return Problem("LG206", path, f"unknown field {name!r}", f"did you mean {near}?", "rename", near)
    homes = [kind for kind, model in KINDS.items() if name in model.model_fields]
    if homes and "kind" in fields:
        message = f"{name} is a field of {', '.join(homes)}, not of this kind"
        return Problem("LG206", path, message, "remove it, or change kind")
    return Problem("LG206", path, f"unknown field {name!r}", f"known fields: {', '.join(fields)}")


def _merged(path: SchemaPath) -> Problem:
    return Problem("LG206", path, "merge keys (<<) are of YAML 1.1 and are not followed", "write the fields themselves")


def suggestion(value: str, choices: Iterable[str]) -> str:
    """Which of ``choices`` to write in place of ``value``."""
    names = list(choices)
    longer = [name for name in names if value and name.startswith(value)]  # int: int8, int16, ...
    meant = longer[0] if len(longer) == 1 else None if longer else closest(value, names)
    if meant is not None:
        return f"did you mean {meant}?"
    return f"use one of: {listed(longer or names)}" if names else ""


def _name(path: SchemaPath) -> str:
    """The field and, in a list, the place: ``shape[0]``."""
    if len(path) > 1 and isinstance(path[-1], int):  # a dtype may be one name or a list of them
        return "dtype" if path[-2] == "dtype" else f"{path[-2]}[{path[-1]}]"
    return str(path[-1]) if path else "the schema"


def _wanted(error: Any) -> str:
    _, branch, rest = _place(tuple(error["loc"]))
    if branch and not rest:
        return "a list of integers, or {start: 1}"
    wanted = _WANTED.get(error["type"])
    return str(error["msg"]) if wanted is None else wanted.format(**error.get("ctx", {}))


def _fix(kind: str, path: SchemaPath, value: object) -> tuple[str, FixKind]:
    """What to do about a value of the wrong type: in words, and for ``lint --fix``."""
    if kind in ("int_type", "number_type", "sentinel_type") and isinstance(value, str) and _INTEGER.fullmatch(value):
        return "write it without quotes", "unquote"
    if kind == "string_type" and value is not None and not isinstance(value, dict | list):
        return "put it in quotes", ""
    if kind == "sentinel_type" and isinstance(value, str) and value.lower() in _UNMEASURED:
        return f"write {_UNMEASURED[value.lower()]}", ""
    if kind == "tuple_type" and isinstance(value, int | float | str):
        text = ".nan" if value != value else str(value)
        return f"write {_name(path)}: [{text}]", "" if isinstance(value, str | bool) else "enclose"
    return "", ""


def shown(value: object) -> str:
    """A value as the file would hold it, shortened."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    words = {None: "nothing (null)", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return shortened(repr(value))

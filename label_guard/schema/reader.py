"""Schema files: YAML 1.2 or JSON text to a ``DatasetSchema`` and back, with the place of everything that is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from label_guard.core.escape import terminal
from label_guard.core.files import open_regular
from label_guard.errors import SchemaError, UsageError
from label_guard.rules.diagnostic import Diagnostic
from label_guard.rules.registry import RULES
from label_guard.schema import syntax as nodes
from label_guard.schema.dataset import DatasetSchema, problems_of
from label_guard.schema.dataset_contradictions import contradictions
from label_guard.schema.fields import Problem, SchemaPath
from label_guard.schema.messages import shown
from label_guard.schema.syntax import Node, UnreadableError


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """A schema file as it was read, sound or not.

    Attributes:
        path: the file as the user named it.
        text: the text; empty where the file cannot be read.
        root: the values with their places; None where the text is not YAML or JSON.
        schema: the schema; None where anything is wrong with the file.
        diagnostics: what keeps the file from being a schema, in order of place; all of them errors.
    """

    path: str
    text: str = ""
    root: Node | None = None
    schema: DatasetSchema | None = None
    diagnostics: tuple[Diagnostic, ...] = ()

    def node(self, path: SchemaPath) -> Node | None:
        """The value at ``path``, such as ``("labels", "label", "num_classes")``, or None."""
        node = self.root
        for step in path:
            if node is None:
                return None
            node = node.child(step)
        return node

    def locate(self, path: SchemaPath, *, key: bool = False) -> tuple[int, int]:
        """Where the value at ``path`` is, or with ``key`` its key.

        Returns:
            Line and column, both from 1; where it is absent, those of the key that should hold it, ``(0, 0)`` in an
            empty file.
        """
        parent = self.node(path[:-1]) if path else None
        name = parent.keys.get(str(path[-1])) if parent is not None and key else None
        found = self.node(path) if name is None else name
        if found is not None:
            return found.line, found.column
        return self.locate(path[:-1], key=True) if path else (0, 0)

    def diagnostic(self, problem: Problem, *, key: bool = False) -> Diagnostic:
        """A problem as a diagnostic at its place in this file; at the key instead of the value where ``key``."""
        line, column = self.locate(problem.path, key=key)
        severity = RULES[problem.rule].severity
        return Diagnostic(severity=severity, file=self.path, line=line, column=column, **problem._asdict())


def load_schema(path: str | os.PathLike[str] | DatasetSchema) -> DatasetSchema:
    """The schema in a YAML or ``.json`` file; a ``DatasetSchema`` passes through.

    Raises:
        SchemaError: the file cannot be read or contradicts itself; all problems are in ``diagnostics``.
        UsageError: as ``read_schema``.
    """
    return path if isinstance(path, DatasetSchema) else sound_schema(read_schema(path))


def sound_schema(file: SchemaFile) -> DatasetSchema:
    """The schema in a file that was read.

    Raises:
        SchemaError: as ``load_schema``.
    """
    if file.schema is None:
        raise SchemaError("\n".join(map(one_line, file.diagnostics)), file.diagnostics)
    return file.schema


def read_schema(path: str | os.PathLike[str]) -> SchemaFile:
    """A schema file and everything that is wrong with it; never raises for what the file holds.

    Raises:
        UsageError: ``path`` is something else, such as the content of a file.
    """
    if not isinstance(cast("object", path), str | os.PathLike):
        raise UsageError(
            f"a schema is the path of a file or a DatasetSchema, not {type(path).__name__}; for the content of a file "
            "call DatasetSchema.model_validate(content) first"
        )
    name = os.fspath(path)
    try:
        with open_regular(name) as stream:
            data = stream.read(nodes.MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _unreadable(SchemaFile(name), UnreadableError(f"cannot read the file: {reason}"))
    return read_schema_bytes(data, name)


def read_schema_bytes(data: bytes, name: str) -> SchemaFile:
    """Like ``read_schema``, of content at hand, such as a file of a git revision; ``name.json`` is read as JSON."""
    file = SchemaFile(name)
    try:
        text = nodes.read_text(data)
        file = SchemaFile(name, text)
        root = nodes.parse(text, is_json=name.lower().endswith(".json"))
        values = nodes.to_plain(root)
    except UnreadableError as error:
        return _unreadable(file, error)
    file = SchemaFile(name, text, root)
    if not isinstance(values, dict):
        message = f"a schema file is a mapping (format, name, version, labels); this is {shown(values)}"
        return _unreadable(file, UnreadableError(message, root.line, root.column))
    sound, problems = _validated(file, cast("dict[str | int, Any]", values))
    found = [*_repeated_keys(file), *(_placed(file, problem) for problem in problems)]
    found.sort(key=lambda diagnostic: (diagnostic.line, diagnostic.column))
    return SchemaFile(name, text, root, None if found else sound, tuple(found))


def one_line(diagnostic: Diagnostic) -> str:
    """Returns a diagnostic in one line: ``file:line:column: LG201 class-count-mismatch: message; fix``."""
    d = diagnostic
    place = f"{d.file}:{d.line}:{d.column}" if d.line else d.file
    where = f"{place}: " if place else ""
    # An error needs no mark: it is what one looks for in a list.
    mark = "" if d.severity == "error" else f"[{d.severity}] "
    fix = f"; {d.fix}" if d.fix else ""
    # A file may hold a terminal's escape sequences.
    return terminal(f"{where}{d.rule} {RULES[d.rule].name}: {mark}{d.message}{fix}")


def _unreadable(file: SchemaFile, error: UnreadableError) -> SchemaFile:
    diagnostic = Diagnostic("LG200", "error", error.message, "", file.path, error.line, error.column)
    return SchemaFile(file.path, file.text, file.root, None, (diagnostic,))


def _repeated_keys(file: SchemaFile) -> Iterator[Diagnostic]:
    for node in file.root.walk() if file.root else ():
        for key in node.repeated:
            message = f"key {key.value!r} is repeated, first in line {node.keys[str(key.value)].line}"
            yield Diagnostic("LG222", "error", message, "remove one", file.path, key.line, key.column)


def _placed(file: SchemaFile, problem: Problem) -> Diagnostic:
    node = file.node(problem.path)
    if problem.rule == "LG212" and node is not None and node.plain is not None:
        message = f"class name {node.plain} without quotes is {_WORDS[type(node.value)]} in YAML"
        problem = problem._replace(message=message, fix=f'write "{node.plain}"', kind="quote")
    return file.diagnostic(problem, key=problem.rule == "LG206")


_WORDS: dict[type, str] = {int: "a number", float: "a number", bool: "true or false", type(None): "nothing (null)"}


def _validated(file: SchemaFile, values: dict[str | int, Any]) -> tuple[DatasetSchema | None, list[Problem]]:
    """The schema, or all that is wrong: the structure first, then the contradictions in what remains of it."""
    try:
        return DatasetSchema.model_validate(values), []
    except ValidationError as error:
        problems = [problem for problem in problems_of(error) if problem.rule in _STRUCTURE]
    new = problems
    for _ in range(4):  # what is taken away may leave its holder incomplete, which then goes too
        for path in {_entry(values, problem.path) for problem in new}:
            _take_away(values, path)
        try:
            rest = DatasetSchema.model_validate(values, context={"lenient": True})
        except ValidationError as error:
            new = list(problems_of(error))
        else:
            return None, problems + [p for p in contradictions(rest) if not _is_caused(p, file)]
    return None, problems


_STRUCTURE = {"LG206", "LG207", "LG208", "LG209", "LG212"}
_STAND_INS: dict[str | int, Any] = {"format": 1, "name": "unnamed", "version": "0.0.0"}


def _entry(values: Any, path: SchemaPath) -> SchemaPath:
    """The innermost entry of a mapping that ``path`` goes through."""
    if len(path) == 1:
        return path
    node, depth = values, 0
    while depth < len(path) and isinstance(node, dict) and path[depth] in node:
        node, depth = cast("dict[str | int, Any]", node)[path[depth]], depth + 1
    return path[:depth]


def _take_away(values: dict[str | int, Any], path: SchemaPath) -> None:
    """Remove an entry; the ones that a schema must have get a stand-in."""
    if not path:
        return
    *parents, last = path
    holder = values
    for step in parents:
        holder = holder.get(step, {})
    holder.pop(last, None)
    if not parents and last in _STAND_INS:
        values[last] = _STAND_INS[last]


def _is_caused(problem: Problem, file: SchemaFile) -> bool:
    """Whether an override names a label that the file declares, but that was taken away for its faults."""
    return problem.rule == "LG206" and len(problem.path) == 4 and file.node(("labels", problem.path[3])) is not None

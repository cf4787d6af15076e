"""Which schema files a command is about: files, folders and globs, or what pyproject.toml names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from glob import has_magic
from pathlib import Path
from typing import Any, cast

from label_guard.core.files import local_glob
from label_guard.errors import UsageError
from label_guard.rules.diagnostic import Diagnostic

SUFFIXES = (".yaml", ".yml", ".json")
DEFAULT = "configs"
MAX_FOLDERS = 10_000


def find_files(names: Sequence[str | os.PathLike[str]]) -> tuple[list[str], list[Diagnostic]]:
    """Finds the schema files that names mean.

    A folder means all ``.yaml``, ``.yml`` and ``.json`` files in and below it, a glob for the files it matches.
    A name that is neither is a file; whether it can be read is seen by whoever reads it. Links are followed.

    Returns:
        The paths, each once, in order; and one LG200 for each name without a file.
    """
    files: dict[str, None] = {}
    missing: list[Diagnostic] = []
    for named in names:
        name = os.fspath(named)
        found = _files_of(name)
        if not found:
            what = "no schema file is in this folder" if Path(name).is_dir() else "no file matches"
            missing.append(Diagnostic("LG200", "error", what, f"schema files end in {', '.join(SUFFIXES)}", name))
        files.update(dict.fromkeys(found))
    return list(files), missing


def _files_of(name: str) -> list[str]:
    path = Path(name)
    if _is_folder(path):
        return sorted(_files_below(path))
    if os.path.lexists(path) or not has_magic(name):
        return [name]
    root = Path(path.anchor)
    found, closed = local_glob(root, path.relative_to(root).as_posix())
    matches = sorted([*found, *closed])
    return [file for match in matches for file in (_files_of(str(match)) if _is_folder(match) else [str(match)])]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a folder on the way may not be searched: whoever reads the path reports it
        return False


def _files_below(top: Path) -> Iterator[str]:
    """The schema files in and below a folder, through links too, each folder once.

    Links that lead nowhere, pipes and devices, and folders that cannot be listed are among them: whoever reads them
    reports them.
    """
    closed: list[OSError] = []
    above = {top.resolve(), *top.resolve().parents}
    seen: set[Path] = set()
    for place, folders, files in os.walk(top, onerror=closed.append, followlinks=True):
        # Hidden folders hold what tools keep (.git, .venv), not what people wrote.
        inside = {name: Path(place, name).resolve() for name in folders if name[0] != "."}
        folders[:] = sorted(name for name, real in inside.items() if real not in seen and real not in above)
        seen.update(inside.values())
        if len(seen) > MAX_FOLDERS:
            raise UsageError(f"{top} has more than {MAX_FOLDERS:,} folders below it; name the schema files")
        for name in files:
            if name[0] != "." and is_schema_name(name):
                yield str(Path(place, name))
    yield from (str(error.filename) for error in closed)


def is_schema_name(name: str) -> bool:
    """Whether a file name ends as those of schema files do, in any case."""
    return Path(name).suffix.lower() in SUFFIXES


def _configured(project: Path) -> list[str] | None:
    try:
        return schemas_in(project.read_text(encoding="utf-8"), str(project)) if project.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {project}: {error}") from None


def default_names(
    folder: str | os.PathLike[str] = ".", configured: Callable[[Path], list[str] | None] = _configured
) -> list[str]:
    """What a command is about when no file is named.

    ``schemas`` of ``[tool.label_guard]`` in the nearest pyproject.toml upwards of ``folder``, relative to that file;
    else ``configs``.

    Args:
        folder: where the command runs.
        configured: ``schemas`` of a pyproject.toml: empty where it names none, None where the file does not exist.

    Raises:
        UsageError: pyproject.toml cannot be read, or ``schemas`` is not a list of file names, folders and globs.
    """
    start = Path(folder).absolute()
    for place in (start, *start.parents):
        names = configured(place / "pyproject.toml")
        if names is not None:
            return [os.path.relpath(place / name, start) for name in names or [DEFAULT]]
    return [DEFAULT]


def schemas_in(text: str, project: str) -> list[str]:
    """Returns the ``schemas`` of ``[tool.label_guard]`` in the text of a pyproject.toml; empty where it names none.

    Raises:
        UsageError: the text is not TOML, or ``schemas`` is not a list of file names, folders and globs.
    """
    import tomllib  # a hook that names its files does not pay for it

    try:
        table: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"cannot read {project}: {error}") from None
    for step in ("tool", "label_guard", "schemas"):
        table = cast("dict[str, Any]", table).get(step) if isinstance(table, dict) else None
    names: Any = table
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in cast("list[Any]", names)) or not names:
        raise UsageError(f'{project}: schemas of [tool.label_guard] must be a list such as ["configs/*.yaml"]')
    return cast("list[str]", names)

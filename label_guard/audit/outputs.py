"""The files that an audit writes: never one of those that it reads, and never one twice."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path

from label_guard.audit.shard import SplitJob
from label_guard.core.files import place_of, same_place
from label_guard.errors import UsageError
from label_guard.quarantine.options import QuarantineOptions
from label_guard.sources.files import is_remote
from label_guard.sources.source import Source

_METADATA = ("features.json", "dataset_info.json")


def refuse_doubles(outputs: Sequence[tuple[str, str]]) -> None:
    """Refuses outputs that would overwrite each other.

    Args:
        outputs: for each, its option and its path or URL.

    Raises:
        UsageError: two have one path, or one is a folder where a file is expected.
    """
    seen: dict[tuple[str, str], str] = {}
    for option, path in outputs:
        system, name = place_of(path)
        real = (system, name if system else os.path.realpath(name))
        if option != "--quarantine" and not system and Path(name).is_dir():
            raise UsageError(f"{option} {path}: this is a folder; expected a file")
        if real in seen and seen[real] == option == "--report":
            raise UsageError(f"--report: several reports would go to {path}; put {{schema}} into its name")
        if real in seen:
            raise UsageError(f"{option} {path}: {seen[real]} would be written to the same place")
        seen[real] = option


def refuse_own_disk(jobs: Sequence[SplitJob], engine: str) -> None:
    """Refuses a quarantine that each worker of a cluster would write to the disk of its own machine.

    Args:
        jobs: what is read.
        engine: the engine, for the message.

    Raises:
        UsageError: the quarantine is a path; a ``file://`` URL says that all machines have that folder.
    """
    for job in jobs:
        where = job.options.quarantine
        if where is not None and not is_remote(where.url):
            raise UsageError(
                f"quarantine {where.url}: workers of {engine} may not have the disk of this machine; name a URL that "
                f"all of them reach, such as s3://bucket/quarantine, or file://{Path(where.url).resolve()} where all "
                "machines mount that folder"
            )


def refuse_inputs(
    outputs: Iterable[str], inputs: Iterable[str | None], splits: Sequence[tuple[str | None, Source]]
) -> None:
    """Refuses outputs that are an input of the audit, also by a link or by another URL of it.

    Args:
        outputs: paths and URLs that will be written.
        inputs: the schema file, the baseline; None where there is none.
        splits: the opened source of each split.

    Raises:
        UsageError: an output is an input.
    """
    there = {found: path for path in outputs if (found := _identity(path)) is not None}
    if not there:
        return
    read = [path for path in inputs if path is not None]
    for _, source in splits:
        read += _files_of(source)
    systems = {system for system, _ in there}
    for path in read:
        system, name = place_of(path)
        if system not in systems:  # a million files are not looked at for an output elsewhere
            continue
        found = _identity(path)
        if found in there:
            raise UsageError(f"{there[found]} would overwrite {path}, which this command reads; choose another name")
        if not system and Path(name).is_dir():
            _refuse_inside(there.values(), name)


def refuse_own_source(quarantine: QuarantineOptions | None, splits: Sequence[tuple[str | None, Source]]) -> None:
    """Refuses to write invalid records into the quarantine that they are read from: each would be there twice.

    Args:
        quarantine: where they are written.
        splits: the opened source of each split.

    Raises:
        UsageError: a source reads the folder.
    """
    if quarantine is None:
        return
    for _, source in splits:
        if source.format.name == "quarantine" and any(same_place(shard.path, quarantine.url) for shard in source.files):
            raise UsageError(
                f"quarantine {quarantine.url}: the records are read from this folder, and would be in it twice; name "
                "another one"
            )


def _refuse_inside(outputs: Iterable[str], folder: str) -> None:
    """Refuses files of a folder whose files are records."""
    for path in outputs:
        system, name = place_of(path)
        if not system and Path(os.path.realpath(name)).is_relative_to(os.path.realpath(folder)):
            raise UsageError(
                f"{path} would overwrite a file of {folder}, which this command reads; choose another name"
            )


def _files_of(source: Source) -> list[str]:
    if source.format.name == "python":
        module = str(source.files[0].path).partition(":")[0].replace(".", "/")
        folder = Path(getattr(source.format, "folder", "."))
        return [str(folder / f"{module}.py"), str(folder / module / "__init__.py")]
    paths = list(dict.fromkeys(_place(shard.path) for shard in source.shards()))
    folders = dict.fromkeys(posixpath.dirname(path) if is_remote(path) else str(Path(path).parent) for path in paths)
    return [*paths, *(posixpath.join(folder, name) for folder in folders for name in _METADATA)]


def _place(path: str) -> str:
    """The file or folder of a shard, whose path may end in ``#``, a pattern and a position in the folder."""
    folder = "" if is_remote(path) else path.rpartition("#")[0]
    while folder and not Path(folder).is_dir():
        folder = folder.rpartition("#")[0]
    return folder or path


def _identity(path: str) -> tuple[str, str] | None:
    """What is the same for all names of one file; None where no regular file of this machine is there."""
    system, name = place_of(path)
    if system:
        return system, name
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return ("", f"{found.st_dev} {found.st_ino}") if Path(name).is_file() else None

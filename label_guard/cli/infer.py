"""``label-guard infer``: a draft schema, from TFDS metadata or from the data."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from label_guard.audit.outputs import refuse_inputs
from label_guard.cli.completion import sources
from label_guard.cli.given import given
from label_guard.cli.group import epilog
from label_guard.errors import UsageError
from label_guard.infer.draft import LIMIT, Draft, infer, of_metadata
from label_guard.quarantine.storage import whole_file
from label_guard.sources.files import resolve
from label_guard.sources.schemes import SCHEMES
from label_guard.sources.sniff import readable_uri
from label_guard.sources.uris import parse_uri


@click.command(
    epilog=epilog(
        "label-guard infer parquet:data/train-*.parquet --label objects/label --output configs/objects.yaml",
        "0: a draft was written. 2: the source cannot be read, or no label can be declared.",
    )
)
@click.argument("source", shell_complete=sources)
@click.option("--label", "labels", multiple=True, type=given, metavar="PATH", help="This field is a label; may repeat.")
@click.option(
    "--split", type=given, metavar="NAME", help="Name of the split in these files; tfds: sources know theirs."
)
@click.option("--name", type=given, metavar="NAME", help="Name of the dataset.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LIMIT,
    show_default=True,
    metavar="N",
    help="Read at most N records of each file.",
)
@click.option("--output", type=given, metavar="FILE", help="Write the draft there instead of printing it.")
@click.option("--force", is_flag=True, help="Replace the file.")
def command(
    source: str,
    labels: tuple[str, ...],
    split: str | None,
    name: str | None,
    limit: int,
    output: str | None,
    force: bool,
) -> int:
    """Draft a schema of SOURCE: a path or URI as in audit, or a name of the TFDS catalogue such as cifar10.

    Guesses are marked TODO check. For a catalogue name nothing is downloaded.
    """
    if output is not None and Path(output).exists() and not force:
        raise UsageError(f"{output} already exists; pass --force to replace it")
    if ":" in source or Path(source).exists() or re.search(r"[/*?{}]|\.(?!\d)", source):
        source, assumed = readable_uri(source)
        if output is not None:
            refuse_inputs([output], _files_of(source, split), [])
        in_file = _relative(source, output)
        draft = infer(source, labels=labels, split=split, name=name, limit=limit, source_in_file=in_file)
        draft.head += [f"TODO check, {note}" for note in assumed]
    else:
        draft = _of_catalogue(source, labels, name)
    text = draft.to_yaml()
    _require_utf8(text)
    if output is None:
        click.echo(text, nl=False)
        return 0
    with whole_file(output) as file:
        file.write(text.encode())
    click.echo(f"{output}: look for TODO, then: label-guard lint {output}", err=True)
    return 0


def _require_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text[: error.start].rpartition("\n")[2] + text[error.start :].partition("\n")[0]
        raise UsageError(f"a schema is UTF-8 text and cannot hold this name: {line.strip()}; rename it") from None


def _of_catalogue(name: str, labels: tuple[str, ...], chosen: str | None) -> Draft:
    from label_guard.tfds import catalogue_metadata

    draft = of_metadata(catalogue_metadata(name), labels, chosen)
    draft.head += [
        "Nothing was downloaded: splits and their sizes are not known here.",
        "TODO check: test splits of the catalogue often hold -1; audit the prepared dataset.",
    ]
    return draft


def _files_of(source: str, split: str | None) -> list[str]:
    """The files, or the folder, that a source names."""
    scheme, where, _ = parse_uri(source)
    if scheme == "python":
        module = where.partition(":")[0]
        return [module, f"{module.replace('.', '/')}.py"]
    if scheme not in SCHEMES or Path(where).is_dir():
        return [where]
    return [shard.path for shard in SCHEMES[scheme].find(resolve(where, None), split)]


def _relative(source: str, output: str | None) -> str:
    """The source as a file at ``output`` names it: relative to its folder where it was relative."""
    scheme, _, where = source.partition(":")
    local = scheme != "python" and "://" not in where and not Path(where).is_absolute()
    if output is None or not local:
        return source
    return f"{scheme}:{Path(os.path.relpath(where, Path(output).resolve().parent)).as_posix()}"

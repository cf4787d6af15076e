"""``label-guard infer``: a draft schema, from TFDS metadata or from the data."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from label_guard.errors import SourceError, UsageError
from label_guard.infer.draft import LIMIT, Draft, infer, of_metadata
from label_guard.quarantine.storage import whole_file
from label_guard.sources.open import list_fields


@click.command()
@click.argument("source")
@click.option("--label", "labels", multiple=True, metavar="PATH", help="This field is a label; may repeat.")
@click.option("--split", metavar="NAME", help="The split that the files are; tfds: knows its own.")
@click.option("--name", metavar="NAME", help="Name of the dataset.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="Records of each file.")
@click.option("--output", metavar="FILE", help="Write the draft there instead of printing it.")
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
    """Draft a schema of SOURCE: a URI as in audit, or a name of the TFDS catalogue such as cifar10.

    What it guesses is marked TODO check. Of a catalogue name nothing is downloaded.
    """
    if output is not None and Path(output).exists() and not force:
        raise UsageError(f"{output} is there already; pass --force to replace it")
    if ":" in source and "://" not in source.partition(":")[0]:
        in_file = _relative(source, output)
        draft = infer(source, labels=labels, split=split, name=name, limit=limit, source_in_file=in_file)
    else:
        draft = _of_catalogue(source, labels, name)
    text = draft.to_yaml()
    if output is None:
        click.echo(text, nl=False)
        return 0
    with whole_file(output) as file:
        file.write(text.encode())
    click.echo(f"{output}: look for TODO, then: label-guard lint {output}", err=True)
    return 0


def _of_catalogue(name: str, labels: tuple[str, ...], chosen: str | None) -> Draft:
    if Path(name).exists() or re.search(r"[/*?{}]|\.(?!\d)", name):
        raise UsageError(_no_scheme(name))
    from label_guard.tfds import catalogue_metadata

    draft = of_metadata(catalogue_metadata(name), labels, chosen)
    draft.head += [
        "Nothing was downloaded: splits and their sizes are not known here.",
        "TODO check: test splits of the catalogue often hold -1; audit the prepared dataset.",
    ]
    return draft


def _no_scheme(path: str) -> str:
    """What to say of a path without a scheme."""
    if Path(path).suffix == ".mat":
        return f"{path}: MATLAB files are not read; save its arrays with numpy.savez and pass npz:FILE"
    try:
        list_fields(path)
    except SourceError as error:
        return str(error)
    return f"{path} is a path; a source says its format: SCHEME:{path}"


def _relative(source: str, output: str | None) -> str:
    """The source as a file at ``output`` names it: relative to its folder where it was relative."""
    scheme, _, where = source.partition(":")
    local = scheme != "python" and "://" not in where and not Path(where).is_absolute()
    if output is None or not local:
        return source
    return f"{scheme}:{Path(os.path.relpath(where, Path(output).resolve().parent)).as_posix()}"

"""The type of options and arguments that name something: a file, a folder, a URI, a split."""

from __future__ import annotations

import click


def given(value: str) -> str:
    """A text that is not empty.

    With ``KNOWN`` unset, ``--baseline "$KNOWN"`` must not run without the option, nor ``lint "$KNOWN"`` on this folder.

    Raises:
        click.BadParameter: it is empty.
    """
    if not value:
        raise click.BadParameter("it is empty; leave it out, or set the variable that was passed")
    return value

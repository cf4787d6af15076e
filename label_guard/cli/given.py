"""The type of options that name something: a file, a folder, a URI, a split."""

from __future__ import annotations

import click


def given(value: str) -> str:
    """A text that is not empty: ``--baseline "$KNOWN"`` with ``KNOWN`` unset must not run as without the option.

    Raises:
        click.BadParameter: it is empty.
    """
    if not value:
        raise click.BadParameter("it is empty; leave out the option, or set the variable that was passed")
    return value

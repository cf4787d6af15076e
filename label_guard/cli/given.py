"""The type of options that name something: a file, a folder, a URI, a split."""

from __future__ import annotations

from typing import Any

import click
from typing_extensions import override


class _Given(click.ParamType):
    """A text that is not empty: ``--baseline "$KNOWN"`` with ``KNOWN`` unset must not run as without the option."""

    name = "text"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("it is empty; leave out the option, or set the variable that was passed", param, ctx)
        return str(value)


GIVEN = _Given()

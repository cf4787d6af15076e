"""A group of commands that names the nearest one for a slip; the end of a command's help."""

from __future__ import annotations

import re

import click
from typing_extensions import override

from label_guard.core.similar import closest

EXITS = "0: clean. 1: findings. 2: not all of the work could be done."


def epilog(example: str, exits: str = EXITS) -> str:
    """The end of a help text: an example and the exit codes, each on a line of its own."""
    codes = re.split(r" (?=[12]: )", exits)
    return "\n".join(["\b", f"Example: {example}", "", "\b", "Exit codes:", *(f"  {code}" for code in codes)])


class Group(click.Group):
    """A click group whose error for an unknown command says which one was probably meant."""

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` starts with; an error with the near name where it does not exist."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            near = closest(name, known)
            ctx.fail(
                f"no command {name!r}; " + (f"did you mean {near}?" if near else f"use one of: {', '.join(known)}")
            )
        return super().resolve_command(ctx, args)

"""The command line: finds the subcommand, turns errors into one line and an exit code.

Exit 0: clean. 1: findings. 2: could not do all of the work.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn

import click
from typing_extensions import override

from label_guard.cli.group import Group, epilog
from label_guard.core.escape import lines
from label_guard.errors import LabelGuardError, unexpected

# Loaded on use: `lint` must start in 0.3 s and may import no framework.
COMMANDS = {
    "check": "Show what the labels of a dataset are and what looks wrong.",
    "lint": "Check schema files.",
    "diff": "Compare schema files, or a folder of them with a git revision.",
    "infer": "Draft a schema, from TFDS metadata or from the data.",
    "rule": "Explain a rule, or list them all.",
    "schema": "Print the JSON Schema of schema files, for editors.",
    "audit": "Check every label of a dataset.",
    "merge": "Merge the parts of an audit.",
    "report": "Render an audit in another format.",
    "quarantine": "Look into a folder of quarantined records.",
}


class _LazyGroup(Group):
    """A group whose commands live in ``label_guard.cli.<name>`` as ``command``."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"label_guard.cli.{cmd_name}").command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog("label-guard check labels.csv"),
)
@click.version_option(package_name="label-guard")
def group() -> None:
    """Check labels before they reach a loss that cannot raise."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line; never shows a traceback for a user's mistake."""
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        click.echo("label-guard: error: standard output is closed; redirect it to a file or to /dev/null", err=True)
        sys.exit(2)
    # To look for plugins, pydantic reads what every installed package says of itself: a tenth of the time of `lint`.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _treat_as_interrupt()
    code = _run(args)
    try:
        sys.stdout.flush()
    except OSError as error:
        _say(f"error: cannot write to standard output: {error.strerror or error}")
        sys.stdout = None  # nothing more is flushed at the end
        code = 2
    sys.exit(code)


def _run(args: list[str] | None) -> int:
    """The exit code; errors become one line."""
    try:
        code = group.main(args=args, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        vars(error)["message"] = lines(error.message)  # it may quote a file name
        error.show()
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
    except SystemExit as ended:  # by click: 0 after a completion, 1 where a pipe is closed, which means findings
        return 2 if ended.code else 0
    except (LabelGuardError, OSError) as error:
        _say(f"error: {lines(str(error))}")
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python before 3.12 wraps what stops the making of a class
            _say("interrupted")
            return 2
        if sys.flags.dev_mode:
            raise
        _say(f"error: {unexpected(error)} (with a traceback: python -X dev -m label_guard)")
    return 2


def _say(text: str) -> None:
    with suppress(OSError):
        click.echo(f"label-guard: {text}", err=True)


def _treat_as_interrupt() -> None:
    """SIGTERM and SIGHUP do what Ctrl-C does: temporary files are removed, and workers ended."""
    if threading.current_thread() is not threading.main_thread():  # only there can a handler be set
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)

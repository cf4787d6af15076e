"""Options of an engine, as they follow ``--`` on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from label_guard.errors import UsageError


def read_options(options: Sequence[str], engine: str) -> dict[str, str]:
    """Names and values of ``--name=value``.

    >>> read_options(["--num_cpus=2", "--address=auto"], "ray.init")
    {'num_cpus': '2', 'address': 'auto'}

    Raises:
        UsageError: an option is not of that form.
    """
    found: dict[str, str] = {}
    for option in options:
        name, equals, value = option.removeprefix("--").partition("=")
        if not option.startswith("--") or not name or not equals:
            raise UsageError(f"{option!r} is not an option of {engine}; write --name=value")
        found[name] = value
    return found

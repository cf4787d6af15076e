"""``label-guard schema``: the JSON Schema of schema files."""

from __future__ import annotations

import json

import click

from label_guard.cli.group import epilog
from label_guard.schema.as_json_schema import json_schema


@click.command(epilog=epilog("label-guard schema > label_guard.schema.json", "0: printed."))
def command() -> int:
    """Print the JSON Schema (2020-12) of schema files, for editors and other validators."""
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0

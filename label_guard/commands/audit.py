"""``label-guard audit``: is this dataset as promised?"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from label_guard.audit import ShardAudit, audit
from label_guard.audit_report import AuditReport
from label_guard.errors import LabelGuardError, UsageError
from label_guard.folder import whole_file
from label_guard.quarantine import QuarantineOptions
from label_guard.report.audit import AUDIT_FORMATS, render_audit
from label_guard.schema_files import find_files


@click.command()
@click.argument("schemas", nargs=-1, required=True, metavar="SCHEMAS...")
@click.option("--source", metavar="URI", help="Where the records are, in place of the schema's own source.")
@click.option("--split", "splits", multiple=True, metavar="NAME", help="Audit this split; without it all.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes beside this one.")
@click.option("--shards", metavar="I/N", help="Audit every N-th file from the I-th (0-based), for merge.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read at most N records of each file.")
@click.option("--report", "reports", multiple=True, metavar="FORMAT=FILE", help="Also write a report; may repeat.")
@click.option("--quarantine", metavar="DIR", help="Write the labels of bad records, as the pipeline does.")
@click.option("--runner", type=click.Choice(["local", "beam"]), default="local", show_default=True)
def command(
    schemas: tuple[str, ...],
    source: str | None,
    splits: tuple[str, ...],
    workers: int,
    shards: str | None,
    limit: int | None,
    reports: tuple[str, ...],
    quarantine: str | None,
    runner: str,
) -> int:
    """Audit datasets against schema files: every label, without decoding what is no label.

    With --runner beam, pipeline options follow after --. A python: source runs the function that it names.
    """
    files, pipeline = _schemas(schemas, runner)
    targets = [_target(report) for report in reports]
    if len(files) > 1 and (targets or source or shards):
        raise UsageError("--report, --source and --shards are for one schema; audit them one by one")
    options_of = QuarantineOptions(quarantine) if quarantine else None
    code = 0
    for file in files:
        try:
            report = _audit(file, source, splits, workers, _part(shards), limit, options_of, runner, pipeline)
        except LabelGuardError as error:
            if len(files) == 1:
                raise
            click.echo(f"label-guard: error: {file}: {error}", err=True)  # the other datasets are audited all the same
            code = 2
            continue
        for style, target in targets:
            with whole_file(target) as out:
                out.write((render_audit(report, style) + "\n").encode())
        click.echo(render_audit(report, "text"))
        # What a part found is judged once the parts are merged; that it could not be read is known now.
        code = max(code, report.exit_code if report.part is None or not report.complete else 0)
    return code


def _schemas(names: Sequence[str], runner: str) -> tuple[list[str], list[str]]:
    """Schema files, and what follows them as Beam's pipeline options."""
    pipeline = [name for name in names if name.startswith("--")]
    if pipeline and runner != "beam":
        raise UsageError(f"{pipeline[0]} is no option of the local runner; pipeline options need --runner beam")
    files, missing = find_files([name for name in names if not name.startswith("--")])
    if missing:
        raise UsageError(f"{missing[0].file}: {missing[0].message}")
    return list(files), pipeline


def _audit(
    file: str,
    source: str | None,
    splits: Sequence[str],
    workers: int,
    part: tuple[int, int] | None,
    limit: int | None,
    quarantine: QuarantineOptions | None,
    runner: str,
    pipeline: Sequence[str],
) -> AuditReport:
    if runner == "beam":
        from label_guard.beam import audit_on_beam

        return audit_on_beam(file, pipeline, source=source, splits=splits, quarantine=quarantine)
    with _progress() as on_shard:
        return audit(
            file, source=source, splits=splits, workers=workers, shards=part, limit=limit, quarantine=quarantine,
            on_shard=on_shard,
        )  # fmt: skip


@contextmanager
def _progress() -> Generator[Any]:
    """A bar with rate and time left on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit=" files", file=sys.stderr) as bar:

        def tell(shard: ShardAudit, total: int) -> None:
            bar.total = total
            bar.set_postfix_str(f"{shard.records:,} records in the last")
            bar.update()

        yield tell


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UsageError(f"--shards is {text!r}; expected I/N with 0 <= I < N, such as 0/4")
    return int(index), int(count)


def _target(text: str) -> tuple[str, str]:
    style, equals, path = text.partition("=")
    if not equals or not path or style not in AUDIT_FORMATS:
        raise UsageError(f"--report is {text!r}; expected FORMAT=FILE with a format of {', '.join(AUDIT_FORMATS)}")
    if not Path(path).resolve().parent.is_dir():
        raise UsageError(f"--report {path}: the folder {Path(path).parent} is not there")
    return style, path

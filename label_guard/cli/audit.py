"""``label-guard audit``: check every label of a dataset against its schema."""

from __future__ import annotations

import importlib
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from label_guard.audit.baseline import Baseline, read_baseline
from label_guard.audit.conclude import with_baseline
from label_guard.audit.good_index import check_target, write_good_index
from label_guard.audit.outputs import refuse_doubles, refuse_inputs
from label_guard.audit.plan import plan_audit
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import AuditOptions, Prepared, audit_prepared, prepare_audit
from label_guard.audit.suggest import patch_yaml, suggest
from label_guard.audit.thumbnails import gather_thumbnails
from label_guard.audit.workers import AuditControl, Progress
from label_guard.cli import completion
from label_guard.cli.given import given
from label_guard.cli.group import epilog
from label_guard.cli.output import print_audit
from label_guard.core.escape import terminal
from label_guard.core.plural import counted
from label_guard.errors import LabelGuardError, MissingDependencyError, UsageError
from label_guard.quarantine.options import QuarantineOptions
from label_guard.quarantine.storage import whole_file
from label_guard.report.audit_text import AUDIT_FORMATS, render_audit
from label_guard.schema.discovery import find_files

_ENGINES = {"beam": "label_guard.engines.beam", "ray": "label_guard.engines.ray", "spark": "label_guard.engines.spark"}
_WRITTEN = 1 << 20  # characters at a time
_READING = ("source", "splits", "limit", "trust_statistics", "allow_python")  # as AuditOptions has them


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one call, as the command line names them."""

    reading: AuditOptions
    files: tuple[str, ...]
    workers: int
    shards: tuple[int, int] | None
    reports: tuple[tuple[str, str], ...]
    quarantine: str | None
    baseline: str | None
    write_baseline: str | None
    good_index: str | None
    label_cache: str | None
    suggest: bool
    duplicates: bool
    output: str | None
    runner: str
    pipeline: tuple[str, ...]

    @property
    def keep_bad(self) -> bool:
        """Whether it must be known which records are bad."""
        return bool(self.baseline or self.write_baseline or self.good_index)


@click.command(
    epilog=epilog(
        "label-guard audit configs/digits.yaml --source tfds:data/digits/1.0.0 --report html=audit.html",
        "0: clean, or only warnings. 1: errors. 2: not all records could be read, or an output could not be written.",
    )
)
@click.argument("schemas", nargs=-1, type=given, required=True, metavar="SCHEMAS...", shell_complete=completion.files)
@click.option(
    "--source",
    type=given,
    metavar="URI",
    shell_complete=completion.sources,
    help="Where the records are, in place of the schema's own source.",
)
@click.option(
    "--split", "splits", multiple=True, type=given, metavar="NAME", help="Audit this split; may repeat. Default: all."
)
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Worker processes.")
@click.option("--shards", type=given, metavar="I/N", help="Audit every N-th file from the I-th (0-based), for merge.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read at most N records of each file.")
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FORMAT=FILE",
    shell_complete=completion.reports,
    help=f"Also write a report ({', '.join(AUDIT_FORMATS)}); {{schema}} in FILE is the stem of the schema's file.",
)
@click.option("--quarantine", type=given, metavar="DIR", help="Write the labels of bad records, as the pipeline does.")
@click.option("--baseline", type=given, metavar="FILE", help="Fail only on bad records that are not in this file.")
@click.option("--write-baseline", type=given, metavar="FILE", help="Write today's bad records as the known ones.")
@click.option(
    "--good-index", type=given, metavar="FILE", help="Write the good records (.npz or .txt), for select_records."
)
@click.option(
    "--label-cache",
    type=given,
    metavar="FILE",
    help="Keep labels in this file; data files that have not changed are not read again.",
)
@click.option("--trust-statistics", is_flag=True, help="Do not read Parquet files that their footers prove legal.")
@click.option("--allow-python", is_flag=True, help="Run the python: source that a schema file names.")
@click.option("--suggest", is_flag=True, help="Also print the schema change that the likely causes suggest.")
@click.option("--duplicates", is_flag=True, help="Look for the same content under two labels or in two splits.")
@click.option(
    "--output",
    type=given,
    metavar="URL",
    help="With --runner beam: where workers write and this machine reads the result.",
)
@click.option("--runner", type=click.Choice(["local", *_ENGINES]), default="local", show_default=True)
def command(schemas: tuple[str, ...], shards: str | None, reports: tuple[str, ...], runner: str, **options: Any) -> int:
    """Audit datasets against schema files: every label, without decoding what is not a label.

    With --runner beam, ray or spark, options of the engine follow after --. A python: source runs the function that it
    names; one that a schema file names needs --allow-python.
    """
    files, pipeline = _schemas(schemas, runner)
    targets = tuple(_target(report) for report in reports)
    reading = AuditOptions(**{name: options.pop(name) for name in _READING})
    chosen = Options(
        reading, tuple(files), shards=_part(shards), reports=targets, runner=runner, pipeline=tuple(pipeline), **options
    )
    _refuse(chosen)
    known = read_baseline(chosen.baseline) if chosen.baseline else None
    code = 0
    for file in files:
        try:
            code = max(code, _audit(file, chosen, known))
        except LabelGuardError as error:
            if len(files) == 1:
                raise
            click.echo(f"label-guard: error: {file}: {error}", err=True)  # the other datasets are audited all the same
            code = 2
    return code


def _audit(file: str, options: Options, known: Baseline | None) -> int:
    """Audits one dataset, prints the report, and writes what was asked for; returns its exit code."""
    quarantine = QuarantineOptions(options.quarantine) if options.quarantine else None
    reading: AuditOptions = {**options.reading, "quarantine": quarantine, "keep_bad": options.keep_bad}
    prepared = prepare_audit(file, reading, "audit")
    splits = prepared[1]
    refuse_inputs([path for _, path in _outputs(options, [file])], [*options.files, options.baseline], splits)
    report = _run(prepared, options)
    if known is not None:
        report = with_baseline(report, known)
    if any(style == "html" for style, _ in options.reports):
        try:
            report = gather_thumbnails(report, splits)
        except MissingDependencyError as error:
            click.echo(f"label-guard: no pictures in the report: {error}", err=True)
    code = report.exit_code
    if options.write_baseline and code == 1:
        code = 0
    try:
        print_audit(report)
        if options.suggest:
            click.echo("\n" + patch_yaml(suggest(report)))
    finally:  # a closed pipe does not cost the files
        written = _write_files(file, report, options)
    for problem in report.problems:
        click.echo(f"label-guard: error: {problem}", err=True)
    return code if written else 2


def _write_files(file: str, report: AuditReport, options: Options) -> bool:
    """Writes what was asked for; returns whether all of it could be written."""
    written = True
    for path, write in _files(file, report, options):
        try:
            with whole_file(path) as out:
                write(out)
        except (LabelGuardError, OSError) as error:  # the other files are written all the same
            click.echo(f"label-guard: error: {error}", err=True)
            written = False
    return written


def _files(file: str, report: AuditReport, options: Options) -> Iterator[tuple[str, Callable[[BinaryIO], None]]]:
    """What is to be written, and how."""
    for style, target in options.reports:
        path = target.replace("{schema}", Path(file).stem)
        yield path, lambda out, style=style: _write(out, render_audit(report, style))
    if options.write_baseline:
        yield options.write_baseline, lambda out: _write_baseline(report, out)
    if options.good_index:
        path = options.good_index
        yield path, lambda out: _write_index(report, out, path)


def _write(file: BinaryIO, text: str) -> None:
    for start in range(0, len(text), _WRITTEN):  # a report may be large, and a copy of it in bytes as large again
        file.write(text[start : start + _WRITTEN].encode())
    file.write(b"\n")


def _write_baseline(report: AuditReport, file: BinaryIO) -> None:
    if not report.complete:
        raise UsageError("no baseline was written: not all records were read, so more may be bad")
    baseline = Baseline(report.dataset, {split.split or "": split.bad for split in report.splits})
    baseline.write(file)
    click.echo(f"{counted(baseline.records, 'bad record goes', 'bad records go')} into the baseline", err=True)


def _write_index(report: AuditReport, file: BinaryIO, path: str) -> None:
    good = counted(write_good_index(report, file, path), "good record goes", "good records go")
    click.echo(f"{good} into {path}", err=True)


def _refuse(options: Options) -> None:
    """Refuse options that contradict each other, before anything is read."""
    if len(options.files) > 1 and (options.reading.get("source") or options.keep_bad or options.output):
        raise UsageError("--source, --baseline, --write-baseline, --good-index and --output are for one schema")
    refuse_doubles(_outputs(options, options.files))
    if options.baseline and options.write_baseline:
        raise UsageError("--baseline reads a file and --write-baseline makes one; pass one of them")
    partly = options.shards or options.reading.get("limit")
    if partly and (options.write_baseline or options.good_index):
        raise UsageError("--write-baseline and --good-index need all records: not with --shards or --limit")
    if options.shards and options.baseline:
        raise UsageError("--baseline is for a whole dataset: not with --shards")
    _refuse_for_runner(options)
    if options.good_index:
        check_target(options.good_index)


def _outputs(options: Options, files: Sequence[str]) -> list[tuple[str, str]]:
    """Every file that will be written: its option and its path."""
    reports = [
        ("--report", target.replace("{schema}", Path(file).stem)) for file in files for _, target in options.reports
    ]
    others = {
        "--write-baseline": options.write_baseline, "--good-index": options.good_index,
        "--label-cache": options.label_cache, "--quarantine": options.quarantine, "--output": options.output,
    }  # fmt: skip
    return [*reports, *((name, path) for name, path in others.items() if path)]


def _refuse_for_runner(options: Options) -> None:
    only_here = {
        "--shards": (options.shards, "the engine hands out the files"),
        "--workers": (options.workers, "the options after -- say how many workers the engine has"),
        "--label-cache": (options.label_cache, "it is one file, which one machine writes"),
        "--duplicates": (
            options.duplicates and options.runner != "beam",
            "pass --runner beam, or --runner local with --workers on a machine with a large disk",
        ),
    }
    for name, (asked, reason) in only_here.items():
        if asked and options.runner != "local":
            raise UsageError(f"{name} cannot be combined with --runner {options.runner}: {reason}")
    if options.runner != "beam" and options.output:
        raise UsageError("--output: for --runner beam only; a report goes to --report FORMAT=FILE")


def _schemas(names: Sequence[str], runner: str) -> tuple[list[str], list[str]]:
    """Schema files, and what follows them as options of the engine."""
    pipeline = [name for name in names if name.startswith("--")]
    if pipeline and runner == "local":
        raise UsageError(f"{pipeline[0]} is not an option of the local runner; pass --runner {' or '.join(_ENGINES)}")
    files, missing = find_files([name for name in names if not name.startswith("--")])
    if missing:
        raise UsageError(f"{missing[0].file}: {missing[0].message}")
    return list(files), pipeline


def _run(prepared: Prepared, options: Options) -> AuditReport:
    if options.runner != "local":
        engine = importlib.import_module(_ENGINES[options.runner])
        more = {"output": options.output, "duplicates": options.duplicates} if options.runner == "beam" else {}
        return engine.run_plan(plan_audit(*prepared), options.pipeline, **more)
    with _progress() as progress, _interruptible() as should_stop:
        return audit_prepared(
            prepared, workers=options.workers, shards=options.shards, label_cache=options.label_cache,
            duplicates=options.duplicates, control=AuditControl(progress, should_stop),
        )  # fmt: skip


@contextmanager
def _interruptible() -> Generator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the audit then ends with a report of what it has read; a second one ends it at once.

    SIGTERM (``timeout``, ``docker stop``, a scheduler) and SIGHUP (a closed terminal) count as Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can a handler be set
        yield lambda: False
        return
    pressed = False
    others = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handled = (signal.SIGINT, *(number for number in others if signal.getsignal(number) is not signal.SIG_IGN))

    def press(*_: Any) -> None:
        """Handles the first signal; the next one raises KeyboardInterrupt."""
        nonlocal pressed
        pressed = True
        for number in handled:
            signal.signal(number, signal.default_int_handler)
        with suppress(OSError):  # the terminal may be closed
            click.echo("label-guard: stopping; what was read so far is reported as incomplete", err=True)

    before = {number: signal.signal(number, press) for number in handled}
    try:
        yield lambda: pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress() -> Generator[Callable[[Progress], None]]:
    """A bar with the file being read, rate and time left on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    shown = 0.0
    with tqdm(unit=" records", unit_scale=True, file=sys.stderr, dynamic_ncols=True) as bar:

        def show(progress: Progress) -> None:
            """Updates the bar, at most ten times a second."""
            nonlocal shown
            now = time.monotonic()
            if now - shown < 0.1 and progress.shards_done < progress.shards:
                return
            shown = now
            bar.total = progress.expected
            name, most = terminal(progress.reading), max(8, shutil.get_terminal_size().columns // 4)
            shortened = name if len(name) <= most else f"...{name[3 - most :]}"  # the end, where shards have numbers
            bar.set_description_str(shortened, refresh=False)
            bar.set_postfix_str(f"{progress.shards_done} of {counted(progress.shards, 'file')}", refresh=False)
            bar.update(progress.records - bar.n)

        yield show


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
        raise UsageError(f"--report {path}: the folder {Path(path).parent} does not exist")
    return style, path

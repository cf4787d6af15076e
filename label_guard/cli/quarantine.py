"""``label-guard quarantine``: look into a folder of quarantined records. All text from data is escaped."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click
import numpy as np

from label_guard.audit.outputs import refuse_doubles, refuse_inputs
from label_guard.check.columns import spec_text
from label_guard.cli.completion import files, rule_codes
from label_guard.cli.given import given
from label_guard.cli.group import Group, epilog
from label_guard.core.escape import terminal
from label_guard.core.plural import counted
from label_guard.core.similar import shortened
from label_guard.errors import UsageError
from label_guard.quarantine.compact import Compaction, compact_quarantine
from label_guard.quarantine.export import write_csv, write_jsonl, write_npz
from label_guard.quarantine.line import QuarantineEntry
from label_guard.quarantine.reader import QuarantineContents, read_quarantine
from label_guard.quarantine.recheck import Recheck
from label_guard.quarantine.storage import whole_file
from label_guard.quarantine.summary import QuarantineSummary, summarize_quarantine
from label_guard.report.screen import screen, show_lines
from label_guard.rules.registry import RULES
from label_guard.rules.violation import Value
from label_guard.schema.split_spec import split_bases

_MAX_WRITERS = 50
_POSITION = (1 << 40) - 1  # the bits of a key below the tag of a named source
_MAX_KEY = (1 << 62) - 1  # a travelling key has 62 bits


@click.group(cls=Group, epilog=epilog("label-guard quarantine summary runs/quarantine"))
def command() -> None:
    """Look into a folder of quarantined records (or any fsspec URL of one)."""


@command.command(
    epilog=epilog(
        "label-guard quarantine summary runs/quarantine --schema configs/digits.yaml",
        "0: all lines were read. 2: a line is damaged, or a record could not be checked.",
    )
)
@click.argument("folder", metavar="DIR", shell_complete=files)
@click.option("--schema", type=given, metavar="FILE", help="Also say how many records this schema would now accept.")
def summary(folder: str, schema: str | None) -> int:
    """Count records by rule, label, split, source and writer."""
    found = summarize_quarantine(folder)
    _say(f"{folder}: {_records(found.records, found.contents)}, {counted(found.lines, 'line')} in "
         f"{counted(found.parts, 'part')}")  # fmt: skip
    _table("by rule", Counter({_rule(rule): number for rule, number in found.rules.items()}))
    _table("by label", Counter({label or "(the whole record)": number for label, number in found.labels.items()}))
    _table("by split", found.splits)
    _table("by source", Counter({source or "(not named)": number for source, number in found.sources.items()}))
    _table("payload", found.payloads)
    _writers(found)
    if found.changed:
        _say(f"{counted(found.changed, 'record')} came with several labels: the newest counts; see: quarantine show")
    code = _damage(found)
    if schema is None:
        return code
    result = Recheck(schema, [group[0] for group in read_quarantine(folder).records])
    _say(f"with {schema}: {result.counts('resolved', 'open')}")
    return max(code, _unchecked(result))


def _writers(summary: QuarantineSummary) -> None:
    if not summary.writers:
        return
    _say("written by")
    ordered = sorted(summary.writers.items(), key=lambda item: (-item[1].lines, item[0]))
    for (host, process, worker), wrote in ordered[:_MAX_WRITERS]:
        steps = "" if wrote.steps is None else f", steps {wrote.steps[0]} to {wrote.steps[1]}"
        _say(f"  host {host}, process {process}, worker {worker}: {counted(wrote.lines, 'line')}, {wrote.first} to "
             f"{wrote.last}{steps}")  # fmt: skip
    if len(ordered) > _MAX_WRITERS:
        _say(f"  and {counted(len(ordered) - _MAX_WRITERS, 'more writer')}")


@command.command(
    epilog=epilog(
        "label-guard quarantine compact s3://bucket/run-7/quarantine",
        "0: done. 2: parts with damaged lines were left as they are.",
    )
)
@click.argument("folder", metavar="DIR", shell_complete=files)
def compact(folder: str) -> int:
    """Merge many part files into few, each entry once. Runs may keep writing meanwhile."""
    done = compact_quarantine(folder)
    _say(f"{folder}: {counted(done.parts_before, 'part')} became {done.parts_after}; {counted(done.lines, 'line')}, "
         f"{done.entries} written")  # fmt: skip
    return _damage(done)


@command.command(
    epilog=epilog(
        "label-guard quarantine show runs/quarantine --rule LG101 --limit 5",
        "0: all lines were read. 2: a line is damaged.",
    )
)
@click.argument("folder", metavar="DIR", shell_complete=files)
@click.option(
    "--rule", type=given, metavar="CODE", shell_complete=rule_codes, help="Only records that broke this rule."
)
@click.option("--record", type=given, metavar="KEY", help="Only this record.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=20, show_default=True, metavar="N", help="Show at most N records."
)
@click.option("--pictures", type=given, metavar="FOLDER", help="Write the pictures of these records there, as PNG.")
def show(folder: str, rule: str | None, record: str | None, limit: int, pictures: str | None) -> int:
    """Show the records, what is wrong with them and what is kept."""
    if rule is not None and rule not in RULES:
        raise UsageError(f"unknown rule {rule!r}; see: label-guard rule")
    contents = read_quarantine(folder)
    groups = [
        group
        for group in contents.records
        if (record is None or group[0].name == record)
        and (rule is None or any(found.rule == rule for entry in group for found in entry.violations))
    ]
    code = _damage(contents)
    if record is not None and not groups:
        raise UsageError(
            f"no record {terminal(record)} in the quarantine {folder}; see: label-guard quarantine show {folder}"
        )
    written = 0
    for number, group in enumerate(groups[:limit], 1):
        _show(group)
        if pictures is not None:
            written += _write_pictures(group[0], Path(pictures), number)
    if pictures is not None and not written:
        _warn(
            f"no picture is kept in {counted(len(groups[:limit]), 'shown record')}; nothing was written to {pictures}"
        )
    if len(groups) > limit:
        _say(f"... and {len(groups) - limit} more; raise --limit, or narrow with --rule or --record")
    if not groups:
        _say("no such record")
    return code


@command.command(
    epilog=epilog(
        "label-guard quarantine export runs/quarantine --format csv --output invalid.csv",
        "0: all entries were written. 2: a line is damaged, or an entry could not be written.",
    )
)
@click.argument("folder", metavar="DIR", shell_complete=files)
@click.option("--format", "form", type=click.Choice(["jsonl", "csv", "npz"]), required=True, help="What to write.")
@click.option(
    "--output", type=given, metavar="FILE", required=True, help="File to write; it appears complete or not at all."
)
def export(folder: str, form: str, output: str) -> int:
    """Write the entries for other tools.

    jsonl: whole entries, each once. csv: a row for each violation. npz: the labels of each record as arrays.
    """
    refuse_inputs([output], [folder], [])
    contents = read_quarantine(folder)
    code = _damage(contents)
    with whole_file(output) as file:
        if form == "jsonl":
            write_jsonl(file, contents.entries)
        elif form == "csv":
            write_csv(file, contents.entries)
        else:
            for problem in write_npz(file, [group[0] for group in contents.records]):
                _warn(problem)
                code = 2
    keyless = sum(group[0].record is None for group in contents.records)
    _warn(f"wrote {_records(len(contents.records) - keyless, keyless)} to {output}")
    return code


@command.command(
    epilog=epilog(
        "label-guard quarantine recheck runs/quarantine --schema configs/digits.yaml --keys again.txt",
        "0: the schema accepts all of them. 1: some are still bad. 2: some could not be checked or written.",
    )
)
@click.argument("folder", metavar="DIR", shell_complete=files)
@click.option("--schema", type=given, metavar="FILE", required=True, help="The corrected schema.")
@click.option("--split", type=given, metavar="NAME", help="Only records of this split.")
@click.option("--keys", type=given, metavar="FILE",
              help="Write the keys of accepted records, one a line (.npy: their positions), "
              "for select_records.")  # fmt: skip
@click.option("--output", type=given, metavar="FILE", help="Write accepted records that are kept whole, as JSON lines.")
def recheck(folder: str, schema: str, split: str | None, keys: str | None, output: str | None) -> int:
    """Check the records again with a corrected schema."""
    outputs = [(option, path) for option, path in (("--keys", keys), ("--output", output)) if path is not None]
    refuse_doubles(outputs)
    refuse_inputs([path for _, path in outputs], [folder, schema], [])
    if split is not None:
        split_bases(split)
    contents = read_quarantine(folder)
    result = Recheck(schema, [group[0] for group in contents.records], split)
    _say(f"{folder} with {schema}: {result.counts('accepted', 'still bad')}")
    _table("still bad by rule", Counter(_rule(rule) for rules in result.rejected.values() for rule in rules))
    code = max(_damage(contents), _unchecked(result), 1 if result.rejected else 0)
    if keys is not None:
        code = max(code, _write_keys(keys, result.accepted, result.record_key))
    if output is not None:
        code = max(code, _write_whole(output, result.accepted))
    return code


def _write_keys(path: str, accepted: Sequence[QuarantineEntry], record_key: str | None) -> int:
    groups = sorted({f"{entry.dataset} {entry.split} of source {entry.source}" for entry in accepted})
    if len(groups) > 1:
        raise UsageError(f"the records come from {terminal('; '.join(groups))}: one key file needs one; pass --split")
    if path.endswith(".npy"):
        return _write_positions(path, accepted)
    misread = next((entry.record for entry in accepted if _is_misread(entry, record_key)), None)
    if misread is not None:
        raise UsageError(
            f"the records are named by a feature (record_key), and select_records would take {misread} for the "
            "position of a record; write positions (--keys FILE.npy), or read the records with "
            "label_guard.quarantine.replay"
        )
    keys = [entry.record for entry in accepted if entry.record and "\n" not in entry.record]
    with whole_file(path) as file:
        file.write("".join(f"{key}\n" for key in keys).encode("utf-8", "surrogateescape"))
    _warn(f"wrote {counted(len(keys), 'key')} to {path}")
    return _left_out(len(accepted) - len(keys), "have no key that a file of lines can hold")


def _is_misread(entry: QuarantineEntry, record_key: str | None) -> bool:
    """Whether the key of a record is a number that is, or may be, not its position in the source."""
    if entry.record is None or not entry.record.isdecimal() or len(entry.record) > len(str(_POSITION)):
        return False
    position = entry.position or ""
    known = position.isdecimal() and len(position) < 20
    return record_key is not None or (known and int(position) & _POSITION != int(entry.record))


def _write_positions(path: str, accepted: Sequence[QuarantineEntry]) -> int:
    """Positions are unique where keys repeat, and need no ``record_key`` in the source."""
    found = [entry.position or "" for entry in accepted]
    positions = [int(text) for text in found if text.isdecimal() and len(text) < 20 and int(text) <= _MAX_KEY]
    keys = np.array(positions, np.int64)
    sources = len(np.unique(keys & ~_POSITION))
    if sources > 1:
        raise UsageError(
            f"the records come from {sources} sources of one stream, and a position does not say of which; write keys, "
            "one a line (--keys FILE.txt): they begin with the name of their source"
        )
    with whole_file(path) as file:
        np.save(file, keys & _POSITION)
    _warn(f"wrote {counted(len(positions), 'position')} to {path}")
    return _left_out(len(accepted) - len(positions), "have no known position in one source")


def _write_whole(path: str, accepted: Sequence[QuarantineEntry]) -> int:
    whole = [entry for entry in accepted if entry.payload_kind == "full" and entry.view is None]
    with whole_file(path) as file:
        write_jsonl(file, whole)
    _warn(f"wrote {counted(len(whole), 'record')} to {path}")
    return _left_out(len(accepted) - len(whole), "are not kept as they were stored; read them again with --keys")


def _left_out(count: int, why: str) -> int:
    if count:
        _warn(f"{count} accepted {why}")
    return 2 if count else 0


def _show(group: Sequence[QuarantineEntry]) -> None:
    newest = group[0]
    named = (
        f"record {newest.record}" if newest.record is not None else f"record without a key, content {newest.content}"
    )
    known = {"split": newest.split, "source": newest.source, "view": newest.view}
    where = [
        f"{newest.dataset} {newest.schema_version}",
        *(f"{name} {value}" for name, value in known.items() if value),
    ]
    _say(f"{named} ({', '.join(where)})", "title")
    for position, entry in enumerate(group):
        if position:
            _say(f"  before, with other labels ({entry.digest[:8]}):")
        for found in entry.violations:
            more = f" (and {counted(found.count - 1, 'more position')})" if found.count > 1 else ""
            at = _position(entry.payload.get(found.label), found.value)
            _say(f"  {found.rule} {found.label}: {found.value}{at}, expected {found.legal}{more}", "error")
        if (by := entry.written) is not None:
            step = "" if by.step is None else f", step {by.step}"
            _say(f"  written {by.time} by host {by.host}, process {by.process}, worker {by.worker}{step}", "muted")
        _say(f"  payload: {entry.payload_kind}{f' ({entry.payload_limit})' if entry.payload_limit else ''}")
        for path, value in entry.payload.items():
            _say(f"    {path}: {_in_short(value)}")


def _write_pictures(entry: QuarantineEntry, folder: Path, number: int) -> int:
    """Writes the features of a record that are pictures, each as a file; returns how many they are."""
    from label_guard.audit.thumbnails import thumbnail  # Pillow

    written: set[str] = set()
    for path, value in entry.payload.items():
        picture = thumbnail(value)
        if picture is not None:
            folder.mkdir(parents=True, exist_ok=True)
            stem = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{number}-{entry.name[-60:]}-{path[-60:]}")
            name = f"{stem}{f'-{len(written)}' if f'{stem}.png' in written else ''}.png"
            written.add(name)
            with whole_file(str(folder / name)) as file:
                file.write(base64.b64decode(picture.partition(",")[2]))
            _say(f"    {path}: picture in {folder / name}", "command")  # one line, to be copied
    return len(written)


def _position(label: Any, value: Value) -> str:
    """Where in an array the first such value is."""
    if not isinstance(label, np.ndarray) or isinstance(value, str) or value is None:
        return ""
    found = np.argwhere(cast("np.ndarray[Any, np.dtype[Any]]", label) == value)
    return f" at {found[0].tolist()}" if found.size else ""


def _in_short(value: Any) -> str:
    """A leaf in a few words: type, shape, and the value where it is small."""
    if isinstance(value, np.ndarray | np.generic):
        array = cast("np.ndarray[Any, np.dtype[Any]]", value)
        kind = spec_text(array.dtype, array.shape)
        return f"{kind} {' '.join(str(array).split())[:60]}" if array.size <= 8 else kind
    if isinstance(value, bytes):
        return f"bytes, {len(value)} long"
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        text = "of thousands of digits"
    return f"{type(value).__name__} {shortened(text)}"


def _rule(code: str) -> str:
    return f"{code} {RULES[code].name}" if code in RULES else code


def _records(records: int, contents: int) -> str:
    """How many records; without keys only distinct contents can be counted."""
    keyed, keyless = counted(records, "record"), f"{counted(contents, 'distinct content')} without a key"
    if not contents:
        return keyed
    return f"{keyed} and {keyless}" if records else keyless


def _table(title: str, counts: Counter[str]) -> None:
    if not counts:
        return
    _say(title)
    rows = [(terminal(name), count) for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    width = max(len(name) for name, _ in rows)
    for name, count in rows:
        _say(f"  {name:<{width}}  {count}")


def _damage(contents: QuarantineContents | QuarantineSummary | Compaction) -> int:
    """Report damaged lines. A torn last line is what a crash leaves, and the next run writes that record again."""
    for problem in contents.problems[:20]:
        _warn(f"skipped {problem}")
    if contents.num_problems > 20:
        _warn(f"skipped {counted(contents.num_problems - 20, 'more damaged line')}")
    torn = 0 if isinstance(contents, Compaction) else contents.num_torn  # compact drops such a line
    return 2 if contents.num_problems > torn else 0


def _unchecked(result: Recheck) -> int:
    for reason, count in Counter(result.unchecked.values()).items():
        _warn(f"{counted(count, 'record')} not checked: {reason}")
    return 2 if result.unchecked else 0


def _say(text: str, role: str = "plain") -> None:
    console = screen()
    if console is None:
        click.echo(terminal(text))
    else:
        show_lines(console, [(terminal(text), role)])


def _warn(text: str) -> None:
    click.echo(f"label-guard: {terminal(text)}", err=True)

"""Audits situations, and scores what is said and what change is suggested by the known truth."""

from __future__ import annotations

import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench.causes.situations import CORRUPT, UNKNOWN, VOID, Column, Kind, Situation, write

from label_guard.audit.report import AuditReport
from label_guard.audit.runner import audit_dataset
from label_guard.audit.suggest import apply_patch, suggest
from label_guard.errors import LabelGuardError
from label_guard.infer.draft import infer
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label
from label_guard.schema.syntax import parse, to_plain

ILLEGAL = -9


@dataclass(frozen=True)
class Score:
    """What became of one situation.

    Attributes:
        kind: name of its kind.
        outcome: ``right``, ``silent``, ``wrong`` or ``harmful``.
        said: causes that were named, with alternatives.
        why: what harm a change does.
        alone: whether a true cause was named without alternatives.
        patchable: whether a change of the schema is the right answer.
        patched: whether the suggested change gives every value its meaning.
        draft: ``right``, ``refused``, ``marked`` or ``harmful``; empty where nothing can be drafted from data alone.
    """

    kind: str
    outcome: str
    said: str = ""
    why: str = ""
    alone: bool = False
    patchable: bool = False
    patched: bool = False
    draft: str = ""


def scores(kinds: Iterable[Kind], seed: int, *, drafts: bool = True, variants: int | None = None) -> Iterator[Score]:
    """Scores every variant of every kind, each made from a seed of its own."""
    for kind in kinds:
        for variant in range(kind.variants if variants is None else min(variants, kind.variants)):
            rng = np.random.default_rng([seed, variant, zlib.crc32(kind.name.encode())])
            with tempfile.TemporaryDirectory() as folder:
                yield score(kind.name, kind.make(rng, variant), Path(folder), drafts=drafts)


def score(name: str, situation: Situation, folder: Path, *, drafts: bool) -> Score:
    """Audits one situation."""
    schema = DatasetSchema.model_validate(write(situation, folder))
    report = audit_dataset(schema)
    patch = suggest(report).patch
    said = " ".join(f"{d.cause}{''.join('|' + other.cause for other in d.alternatives)}" for d in report.diagnoses)
    why = harm(situation, schema, patch)
    outcome = "harmful" if why else _outcome(situation, report)
    return Score(
        name, outcome, said, why,
        alone=outcome == "right" and bool(said) and not any(d.alternatives for d in report.diagnoses),
        patchable=situation.patchable,
        patched=bool(patch) and not why and _is_whole(situation, apply_patch(schema, patch)),
        draft=_draft(situation, schema) if drafts and situation.drafted else "",
    )  # fmt: skip


def _outcome(situation: Situation, report: AuditReport) -> str:
    if not report.diagnoses:
        return "right" if situation.silent or not situation.causes else "silent"
    for one in report.diagnoses:
        if not {one.cause, *(other.cause for other in one.alternatives)} & situation.causes:
            return "wrong"
    return "right"


# Meaning -----------------------------------------------------------------------------------------------------------


def meanings(label: Label, column: Column, values: Sequence[int]) -> list[int]:
    """What a label makes of each value; ILLEGAL where it refuses the dtype or the value."""
    stored = column.values.dtype.name if isinstance(column.values, np.ndarray) else "int64"
    if not isinstance(label, ClassLabel) or stored not in label.stored_dtypes:
        return [ILLEGAL] * len(values)
    index = {raw: place for place, raw in enumerate(label.raw_ids)}
    return [index.get(value, VOID if value in label.sentinels else ILLEGAL) for value in values]


def _pairs(column: Column) -> list[tuple[int, int]]:
    """Distinct pairs of value and meaning."""
    flat, meant = column.flat(), column.meaning
    if meant is None:
        return []
    whole = np.isfinite(flat) & (np.floor(flat) == flat) if flat.dtype.kind == "f" else np.ones(flat.shape, bool)
    return sorted(set(zip(flat[whole].astype(np.int64).tolist(), meant[whole].tolist(), strict=True)))


def harm(situation: Situation, schema: DatasetSchema, patch: Mapping[str, Any]) -> str:
    """The harm that a change does, or nothing."""
    if not patch:
        return ""
    after = apply_patch(schema, patch)
    for split, columns in situation.splits.items():
        old, new = schema.stored(split), after.stored(split)
        for path, column in columns.items():
            pairs = _pairs(column)
            values = [value for value, _ in pairs]
            before, later = meanings(old[path], column, values), meanings(new[path], column, values)
            for (value, meant), was, now in zip(pairs, before, later, strict=True):
                if found := _harm(meant, was, now):
                    return f"{split} {path} {value}: {found}"
    return ""


def _harm(meant: int, was: int, now: int) -> str:
    if meant == UNKNOWN or was == now:
        return ""
    if meant == CORRUPT:
        return "a corrupt value becomes legal" if was == ILLEGAL else ""
    if now >= 0 and now != meant:
        return "a value gets a wrong class"
    if meant >= 0 and now == VOID:
        return "a labelled value is ignored"
    return "a right value becomes illegal" if was == meant and now == ILLEGAL else ""


def _is_whole(situation: Situation, schema: DatasetSchema) -> bool:
    """Whether every value has its meaning under ``schema``."""
    for split, columns in situation.splits.items():
        labels = schema.stored(split)
        for path, column in columns.items():
            pairs = _pairs(column)
            got = meanings(labels[path], column, [value for value, _ in pairs])
            if any(
                now != (ILLEGAL if meant == CORRUPT else meant) and meant != UNKNOWN
                for (_, meant), now in zip(pairs, got, strict=True)
            ):
                return False
    return True


# Drafts ------------------------------------------------------------------------------------------------------------


def _draft(situation: Situation, schema: DatasetSchema) -> str:
    split, columns = next(iter(situation.splits.items()))
    path, column = next(iter(columns.items()))
    if column.meaning is None or (column.meaning == UNKNOWN).any():
        return ""
    try:
        text = infer(str(schema.splits[split].source), labels=[path]).to_yaml()
    except LabelGuardError:
        return "refused"
    drafted = DatasetSchema.model_validate(to_plain(parse(text, is_json=False)))
    pairs = _pairs(column)
    got = meanings(drafted.stored(next(iter(drafted.splits)))[path], column, [value for value, _ in pairs])
    wanted = [ILLEGAL if meant == CORRUPT else meant for _, meant in pairs]
    return "right" if got == wanted else "marked" if "TODO" in text else "harmful"


def table(found: Sequence[Score]) -> str:
    """Outcomes by kind, and the totals, as Markdown."""
    lines = ["| kind | situations | right | silent | wrong | harmful | drafts |", "|---|---|---|---|---|---|---|"]
    for kind in dict.fromkeys(one.kind for one in found):
        mine = [one for one in found if one.kind == kind]
        outcomes = Counter(one.outcome for one in mine)
        drafts = Counter(one.draft for one in mine if one.draft)
        counts = ", ".join(f"{count} {what}" for what, count in drafts.items())
        shown = " | ".join(str(outcomes[name] or "") for name in ("right", "silent", "wrong", "harmful"))
        lines.append(f"| {kind} | {len(mine)} | {shown} | {counts} |")
    return "\n".join([*lines, "", *totals(found)])


def totals(found: Sequence[Score]) -> list[str]:
    """The totals in words."""
    outcomes, drafts = Counter(one.outcome for one in found), Counter(one.draft for one in found if one.draft)
    named = [one for one in found if one.outcome == "right" and one.said]
    wanted = [one for one in found if one.patchable]
    shares = ", ".join(f"{what} {100 * outcomes[what] / len(found):.1f} %" for what in ("right", "wrong", "harmful"))
    return [
        f"- {shares} of {len(found)} situations",
        f"- {sum(one.alone for one in named)} of {len(named)} causes are named alone",
        f"- a right change is suggested in {sum(one.patched for one in wanted)} of {len(wanted)} that have one",
        f"- drafts: {', '.join(f'{count} {what}' for what, count in sorted(drafts.items()))}",
    ]

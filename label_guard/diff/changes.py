"""What a change of one label means for a trained model and for a training pipeline.

A trained model breaks when its outputs no longer mean what they meant: number, order or names of the classes, kind,
shape, range of a target. A training pipeline breaks when the guard may hand on what it never handed on before, or
refuses data that it accepted: a rule that is loosened breaks the first, one that is tightened the second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from label_guard.core import similar
from label_guard.core.plural import agreed, counted
from label_guard.diff.semver import Bump
from label_guard.schema.dataset import emitted_label
from label_guard.schema.fields import SchemaPath, fits_shape
from label_guard.schema.labels import ClassIdRange, ClassLabel, Label, MultiLabel, RealLabel, SoftLabel

Verdict = Literal["breaking", "compatible"]
WithIgnore = ClassLabel | MultiLabel | RealLabel
_SEPARATOR = re.compile(r"(?<=[^\W_])[_-](?=[^\W_])")  # between two letters or digits: elsewhere - is a sign


@dataclass(frozen=True, slots=True)
class Change:
    """One change between two versions of a schema.

    Attributes:
        rule: code of the rule that names the change, such as ``LG305``.
        path: where in the new schema; of what was removed, where it would be.
        old: the old value, plain (what JSON can hold); None where there was none.
        new: the new value, plain; None where there is none.
        model: whether a trained model breaks.
        pipeline: whether a training pipeline breaks.
        what: the change in words.
        reason: why it is breaking or compatible.
        documentation: whether no machine sees the difference.
    """

    rule: str
    path: SchemaPath
    old: Any
    new: Any
    model: Verdict
    pipeline: Verdict
    what: str
    reason: str
    documentation: bool = False

    @property
    def breaking(self) -> bool:
        """Whether anything breaks."""
        return "breaking" in (self.model, self.pipeline)

    @property
    def bump(self) -> Bump:
        """The part of the version that declares this change."""
        return "major" if self.breaking else "patch" if self.documentation else "minor"


def verdict(is_breaking: bool) -> Verdict:
    """The verdict in a word."""
    return "breaking" if is_breaking else "compatible"


def label_changes(old: Label, new: Label) -> Iterator[Change]:
    """The changes between two versions of a label; paths start at the label."""
    if old.kind != new.kind:
        reason = "another kind of label needs another loss and another last layer"
        yield changed("LG304", ("kind",), old.kind, new.kind, True, True, reason)
        return
    yield from _class_changes(old, new)
    yield from _encoding_changes(old, new)
    yield from _dtype_changes(old, new)
    yield from _shape_changes(old, new)
    yield from _sentinel_changes(old, new)
    yield from _rule_changes(old, new)


def changed(
    rule: str, path: SchemaPath, old: Any, new: Any, model: bool, pipeline: bool, reason: str, what: str = ""
) -> Change:
    """A change by whether it breaks trained models and training pipelines; without ``what`` it names both values."""
    old, new = _plain(old), _plain(new)
    what = what or f"{path[0]} was {shortened(old)}, is {shortened(new)}"
    return Change(rule, path, old, new, verdict(model), verdict(pipeline), what, reason)


def _plain(value: Any) -> Any:
    """A value of a field as JSON holds it."""
    if isinstance(value, ClassIdRange):
        return value.model_dump()
    return list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value


def shortened(value: Any) -> str:
    """A value in a sentence, shortened; text that blanks or signs alone would hide is quoted."""
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        items = cast("Sequence[Any]", value)
        shown = list(map(_item, items[:6]))
        return f"[{', '.join([*shown, '...'] if len(items) > 6 else shown)}]"
    text = str(value)
    if isinstance(value, str) and (text != text.strip() or not any(map(str.isalnum, text))):
        text = json.dumps(text, ensure_ascii=False)
    return similar.shortened(text)


def _item(value: Any) -> str:
    """An item of a list, as a schema file spells it."""
    return "null" if value is None else ".nan" if value != value else shortened(value)


def _class_changes(old: Label, new: Label) -> Iterator[Change]:
    if isinstance(old, RealLabel) or isinstance(new, RealLabel):
        return
    if old.num_classes != new.num_classes:
        grows = old.num_classes < new.num_classes
        effect = "the loss of an id it has no output for is NaN" if grows else "ids that were legal are refused"
        reason = f"a model has {counted(old.num_classes, 'output')}; {effect}"
        yield changed("LG305", ("num_classes",), old.num_classes, new.num_classes, True, True, reason)
    yield from _name_changes(old.class_names, new.class_names, old.stores_names and new.stores_names)
    if isinstance(old, ClassLabel) and isinstance(new, ClassLabel):
        yield from _id_changes(old, new)


def _name_changes(old: tuple[str, ...] | None, new: tuple[str, ...] | None, are_stored: bool) -> Iterator[Change]:
    if old is None and new is not None:
        reason = "the classes get names; no id changes"
        yield changed("LG310", ("class_names",), None, new, False, False, reason)
    elif old is not None and new is None:
        reason = "nothing says any more which class an id is, so a changed order could not be seen"
        yield changed("LG309", ("class_names",), old, None, True, False, reason)
    elif old is not None and new is not None:
        yield from _moves(old, new)
        yield from _renames(old, new, are_stored)


def _moves(old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[Change]:
    """Names that have another id."""
    before = {name: position for position, name in enumerate(old)}
    moved = [(name, before[name], i) for i, name in enumerate(new) if before.get(name, i) != i]
    if not moved:
        return
    shown = similar.listed((f"{shortened(name)} {a} -> {b}" for name, a, b in moved), most=4)
    count = f"{len(moved)} of {counted(len(new), 'class')} {agreed(len(moved), 'has', 'have')} another id"
    what = f"class_names are permuted: {shown}" if set(old) == set(new) else f"{count}: {shown}"
    reason = "every old label and every old output now means another class, and nothing would show it"
    yield changed("LG306", ("class_names", moved[0][2]), old, new, True, True, reason, what)


def _renames(old: tuple[str, ...], new: tuple[str, ...], are_stored: bool) -> Iterator[Change]:
    """Names that took the place of another one; what is only spelled another way is the same class.

    Two class names of one schema may differ by case alone (EMNIST: a, A), so spelling counts where it distinguishes.
    Where the data hold the names, the old ones are refused.
    """
    gone, fresh = set(old) - set(new), set(new) - set(old)
    pairs = [(i, a, b) for i, (a, b) in enumerate(zip(old, new, strict=False)) if a in gone and b in fresh]
    if not pairs:
        return
    loose_old, loose_new = [spelled(name) for name in old], [spelled(name) for name in new]
    lenient = len(set(loose_old)) == len(old) and len(set(loose_new)) == len(new)
    same = [pair for pair in pairs if lenient and loose_old[pair[0]] == loose_new[pair[0]]]
    other = [pair for pair in pairs if pair not in same]
    if same:
        reason = "the same names in another spelling"
        yield _renaming("LG307" if are_stored else "LG308", same, "compatible", reason, are_stored)
    if other:
        reason = "an output that meant one class now has the name of another; a machine cannot know which is right"
        yield _renaming("LG307", other, "breaking", reason, are_stored)


def _renaming(rule: str, pairs: list[tuple[int, str, str]], model: Verdict, reason: str, are_stored: bool) -> Change:
    shown = similar.listed((f"{i} {shortened(a)} -> {shortened(b)}" for i, a, b in pairs), most=4)
    what = f"{'class' if len(pairs) == 1 else 'classes'} renamed: {shown}"
    old, new = [a for _, a, _ in pairs], [b for _, _, b in pairs]
    path = ("class_names", pairs[0][0])
    if are_stored:
        reason = f"data with {shortened(old[0])} is refused; {reason}"
    return Change(rule, path, old, new, model, verdict(are_stored), what, reason, documentation=rule == "LG308")


def spelled(name: str) -> str:
    """A class name without its case and separators.

    >>> spelled("Traffic_Light") == spelled("traffic light"), spelled("-1") == spelled("1")
    (True, False)
    """
    return _SEPARATOR.sub(" ", " ".join(name.casefold().split()))


def _id_changes(old: ClassLabel, new: ClassLabel) -> Iterator[Change]:
    before, after = old.raw_ids, new.raw_ids
    both = range(min(len(before), len(after)))
    if isinstance(before, range) and isinstance(after, range):  # they differ at once or nowhere, and may be large
        both = both[:1]
    position = next((i for i in both if before[i] != after[i]), None)
    if position is None:
        return
    moved = _ids_move(before, after)
    reason = "raw ids in the data are turned into other classes, and nothing would show it"
    reason = reason if moved else "raw ids that were legal are refused"
    path = ("class_ids", position) if isinstance(new.class_ids, tuple) else ("class_ids",)
    yield changed("LG311", path, old.class_ids, new.class_ids, moved, True, reason)


def _ids_move(before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether a raw id means another class."""
    if isinstance(before, range) and isinstance(after, range):
        return before.start != after.start and max(before.start, after.start) < min(before.stop, after.stop)
    listed, other = (before, after) if isinstance(before, tuple) else (after, before)
    positions = other if isinstance(other, range) else {raw: i for i, raw in enumerate(other)}
    found = (
        (raw - other.start if isinstance(other, range) else positions[raw], i)
        for i, raw in enumerate(listed)
        if raw in positions
    )
    return any(a != b for a, b in found)


_ENCODING = {  # and why data in the old form do not pass
    "encoding": "rows stored as before are refused, or read as something else",
    "positive": "data stored as before is refused",
    "negative": "data stored as before is refused",
    "separator": "lists stored as before are refused, or split at other places",
    "columns": "data stored as before is refused",
}


def _encoding_changes(old: Label, new: Label) -> Iterator[Change]:
    """How the source holds a label, and which of its positions count."""
    for field, reason in _ENCODING.items():
        before, after = getattr(old, field, None), getattr(new, field, None)
        if before != after:
            moved, breaks = False, True
            if field == "columns" and before and after:
                moved, reason = True, "classes are read from other features"
            elif field in ("positive", "negative") and isinstance(old, MultiLabel) and isinstance(new, MultiLabel):
                moved = old.positive == new.negative or old.negative == new.positive
                reason = "a stored value that meant one of the two now means the other" if moved else reason
            elif field == "separator" and before is None and not new.stores_names:
                fresh = _handed_on(new) - _handed_on(old)
                breaks, reason = bool(fresh), _gets(fresh) if fresh else "a list may be one text, too"
            yield changed("LG335", (field,), before, after, moved, breaks, reason)
    if old.where != new.where:
        reason = "other positions are checked, and the validity mask is False at others"
        yield changed("LG336", ("where",), old.where, new.where, False, True, reason)


def _handed_on(label: Label) -> set[str]:
    return set(emitted_label(label).stored_dtypes)


def _dtype_changes(old: Label, new: Label) -> Iterator[Change]:
    stored = set(old.stored_dtypes), set(new.stored_dtypes)
    emitted = _handed_on(old), _handed_on(new)
    follows = old.emit is None and new.emit is None  # what is handed on is what is stored
    written = old.dtype is not None or new.dtype is not None  # a default follows another field, reported there
    if stored[0] != stored[1] and written:
        refused, fresh = stored[0] - stored[1], emitted[1] - emitted[0] if follows else set[str]()
        if refused:
            reason = f"data stored as {_names(refused)} is refused"
        elif fresh:
            reason = _gets(fresh)
        else:
            reason = "more data is accepted, and what is handed on stays the same"
        breaks = bool(refused or fresh)
        yield changed("LG312", ("dtype",), _as_written(old.dtype), _as_written(new.dtype), False, breaks, reason)
    if not follows and emitted[0] != emitted[1]:
        fresh = emitted[1] - emitted[0]
        reason = _gets(fresh) if fresh else "the loss got this dtype before"
        yield changed("LG313", ("emit",), old.emit, new.emit, False, bool(fresh), reason)


def _names(dtypes: set[str]) -> str:
    return ", ".join(sorted(dtypes))


def _gets(fresh: set[str]) -> str:
    return f"the loss gets {_names(fresh)}, which it never got"


def _as_written(dtypes: tuple[str, ...] | None) -> tuple[str, ...] | str | None:
    return dtypes[0] if dtypes is not None and len(dtypes) == 1 else dtypes


def _shape_changes(old: Label, new: Label) -> Iterator[Change]:
    if old.shape == new.shape:
        return
    tightened = fits_shape(old.shape, new.shape)
    reason = "labels of other shapes, legal before, are refused" if tightened else "the loss gets shapes it never got"
    yield changed("LG314", ("shape",), old.shape, new.shape, not tightened, True, reason)


def _sentinel_changes(old: Label, new: Label) -> Iterator[Change]:
    if isinstance(old, SoftLabel) or isinstance(new, SoftLabel):
        return
    mask = f"; the batch {'gains' if new.has_mask else 'loses'} its validity mask"
    mask = "" if old.has_mask == new.has_mask else mask
    for value in old.ignore:
        if value not in new.ignore:
            shown = _item(value)
            what, reason = f"ignore value {shown} removed", f"data with {shown} is refused{mask}"
            yield changed("LG315", ("ignore",), old.ignore, new.ignore, False, True, reason, what)
    for position, value in enumerate(new.ignore):
        if value not in old.ignore:
            shows, reason = _shows(old, new.on_ignore)
            breaks, what = shows or bool(mask), f"ignore value {_item(value)} added"
            path = ("ignore", position)
            yield changed("LG316", path, old.ignore, new.ignore, False, breaks, f"{reason}{mask}", what)
    if old.ignore and new.ignore and old.on_ignore != new.on_ignore:
        shows, reason = _shows(old, new.on_ignore)
        yield changed("LG318", ("on_ignore",), old.on_ignore, new.on_ignore, False, shows, reason)
    if isinstance(old, ClassLabel) and isinstance(new, ClassLabel):
        yield from _unlabeled_changes(old, new, mask)


def _shows(old: WithIgnore, treatment: str) -> tuple[bool, str]:
    """Whether a sentinel so treated shows the loss of the earlier schema what it never saw, and why."""
    if treatment == "skip":
        return False, "such records are left out"
    if treatment == "keep":
        return True, "the sentinel is in the array; a loss that does not skip it trains on it"
    unlabeled = isinstance(old, ClassLabel) and old.unlabeled is not None and old.on_unlabeled == "replace"
    put_in = f"{'class 0' if isinstance(old, ClassLabel) else 'a legal value'} is there and the mask is False"
    if unlabeled or (old.ignore and old.on_ignore == "replace"):
        return False, f"{put_in}, as for another sentinel before"
    return True, f"{put_in}; a loss that ignores the mask trains on it"


def _unlabeled_changes(old: ClassLabel, new: ClassLabel, mask: str) -> Iterator[Change]:
    before, after = old.on_unlabeled or "keep", new.on_unlabeled or "keep"
    shows, reason = _shows(old, after)
    if old.unlabeled not in (None, new.unlabeled):
        shows, reason = True, f"data with {old.unlabeled} is refused"
    breaks, reason = shows or bool(mask), f"{reason}{mask}"
    if old.unlabeled != new.unlabeled:
        yield changed("LG317", ("unlabeled",), old.unlabeled, new.unlabeled, False, breaks, reason)
    elif old.unlabeled is not None and before != after:
        yield changed("LG318", ("on_unlabeled",), old.on_unlabeled, new.on_unlabeled, False, breaks, reason)


_LOW, _HIGH = float("-inf"), float("inf")
# Field: what absence means, and whether a greater value is the stricter one.
_RULES: dict[str, tuple[Any, bool]] = {
    "unique": (False, True),
    "min_length": (0, True),
    "max_length": (_HIGH, False),
    "min_positive": (0, True),
    "max_positive": (_HIGH, False),
    "tolerance": (0, False),
    "one_hot": (False, True),
    "minimum": (_LOW, True),
    "maximum": (_HIGH, False),
}


def _rule_changes(old: Label, new: Label) -> Iterator[Change]:
    for field, (absent, greater_is_stricter) in _RULES.items():
        if field not in type(new).model_fields:
            continue
        before, after = getattr(old, field), getattr(new, field)
        a, b = (absent if value is None else value for value in (before, after))
        if a == b:
            continue
        if (b > a) == greater_is_stricter:
            yield changed("LG319", (field,), before, after, False, True, "data that was legal is refused")
        elif field == "tolerance":
            yield changed("LG320", (field,), before, after, False, False, "the loss of such rows stays finite")
        elif field in ("minimum", "maximum"):  # a last layer may be scaled to the old range
            reason = "the loss gets targets out of the range it knew"
            yield changed("LG320", (field,), before, after, True, True, reason)
        else:
            yield changed("LG320", (field,), before, after, False, True, "the loss gets what was refused before")

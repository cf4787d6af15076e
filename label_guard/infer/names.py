"""From counts of texts to a class_label that stores names: which texts are classes, and which are slips of one."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from label_guard.core.plural import counted
from label_guard.core.similar import folded, quoted_apart, shortened
from label_guard.infer.classes import SCATTERED, Drafted, is_rare, least_count, occurs, refused

MAX_NAMES = 1_000  # more distinct texts are captions, paths or identifiers
_MAX_LENGTH = 100  # characters of a class name
_REPEATED = 3  # occurrences of each text on average, below which texts are captions or identifiers
_MAX_SHOWN = 5
_SLIPS = 20  # occurrences up to which a text may be a slip of a name one edit away
_SLIP_RATIO = 50  # how often the name must occur for one slip
_MIN_EDITED = 4  # letters of a name below which one edit says nothing
_NUMBERS = re.compile(r"[\s\d.,;:|/+-]*\d[\s\d.,;:|/+-]*")
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")
_NOTHING = {"", "nan", "null", "none", "na", "n/a", "<na>", "nat", "-", "?"}
_SEPARATORS = ("|", ";", ",", " ")


def draft_names(counts: Mapping[str, int]) -> Drafted:
    """Returns the class_label that ``counts`` (occurrences by text) show; without fields, and why, where in doubt.

    >>> draft_names({"cat": 60, "dog": 50, "Cat": 1}).fields
    {'kind': 'class_label', 'num_classes': 2, 'class_names': ['cat', 'dog'], 'dtype': ['string']}
    """
    total, usable = sum(counts.values()), {text: n for text, n in counts.items() if folded(text) not in _NOTHING}
    no_names = _no_names(usable, total)
    if no_names is not None:
        return no_names
    least = least_count(usable.values())
    classes = {text: n for text, n in usable.items() if n >= least}
    slips = _slips(usable, classes)
    classes = {text: n for text, n in classes.items() if text not in slips}
    left = {text: n for text, n in counts.items() if text not in classes}
    if sum(left.values()) > SCATTERED * total:
        text = max(left, key=lambda one: left[one])
        shown, meant = _shown_apart(text, slips.get(text, text))
        why = f"a spelling of {meant}?" if text in slips else "no class by their number?"
        return refused(f"holds texts such as {shown}, which {occurs(left[text], total)}: {why}")
    if len(classes) < 2 or len(classes) > MAX_NAMES:
        found = counted(len(classes), "text that could be a class name", "texts that could be class names")
        return refused(f"holds {found}; expected 2 to {MAX_NAMES:,}")
    untidy = next((name for name in sorted(classes) if name != name.strip() or not name.isprintable()), None)
    if untidy is not None:
        return refused(f"holds {_shown(untidy)}, with white space around it or characters that do not print")
    drafted = Drafted({"kind": "class_label", "num_classes": len(classes), "class_names": sorted(classes)})
    drafted.fields["dtype"] = ["string"]
    _mark(drafted, left, slips, total)
    return drafted


def known_names(names: Sequence[str], counts: Mapping[str, int]) -> Drafted:
    """Returns the class_label of the names that metadata or folders declare; texts beyond them are marked."""
    drafted = Drafted({"kind": "class_label", "num_classes": len(names), "class_names": list(names)})
    drafted.fields["dtype"] = ["string"]
    drafted.notes.append("class names are those of the dataset's metadata")
    known = set(names)
    left = {text: count for text, count in counts.items() if text not in known}
    total, seen = sum(counts.values()), {name: counts[name] for name in names if name in counts}
    rare = [name for name in seen if len(seen) > 1 and is_rare(name, seen, least=0)]
    # A folder that is not one of a class, such as __MACOSX.
    folders = [f"{_shown(name)} {occurs(seen[name], total)}" for name in rare]
    drafted.mark_first(folders, _MAX_SHOWN, "more rare name", "more rare names")
    _mark(drafted, left, {}, total)
    return drafted


def _mark(drafted: Drafted, left: Mapping[str, int], slips: Mapping[str, str], total: int) -> None:
    named = {text: "{}, perhaps {},".format(*_shown_apart(text, name)) for text, name in slips.items()}
    ranked = sorted(left.items(), key=lambda pair: (-pair[1], pair[0]))
    texts = [f"{named.get(text, _shown(text))} {occurs(n, total)} and is left illegal" for text, n in ranked]
    drafted.mark_first(texts, _MAX_SHOWN, "more text is left illegal", "more texts are left illegal")


def _no_names(counts: Mapping[str, int], total: int) -> Drafted | None:
    """Returns why the texts are not class names; None where they may be."""
    if not counts:
        return refused("holds blank texts alone")
    numbers = [text for text in counts if _NUMBERS.fullmatch(text)]
    separator = separator_of_ids([text for text in counts if not text.isdigit()])
    if separator is not None and len(numbers) == len(counts):
        return lists_of_ids(separator)
    if len(numbers) == len(counts):
        comma = ", without commas" if any("," in text for text in numbers) else ""
        return refused(f"holds numbers stored as text, such as {_shown(numbers[0])}: store them as numbers{comma}")
    if sum(counts[text] for text in numbers) > SCATTERED * total:
        return refused(f"holds names and numbers stored as text, such as {_shown(numbers[0])}")
    if max(map(len, counts)) > _MAX_LENGTH or total < _REPEATED * len(counts):
        return refused(
            f"holds {counted(len(counts), 'distinct text')} in {counted(total, 'record')}: captions or identifiers "
            "rather than class names"
        )
    separator = next((one for one in _SEPARATORS if _are_lists(counts, one)), None)
    if separator is not None:
        return refused(
            f"holds lists of names separated by {separator!r}",
            by_hand=f"kind: multi_label with encoding: ids, dtype: string and separator: {separator!r}",
        )
    return None


def separator_of_ids(texts: Collection[str]) -> str | None:
    """Returns what separates whole numbers in all of ``texts``; None where they are not such lists."""
    for separator in (" ", ",", ";", "|"):
        lists = [text.split(separator) for text in texts]
        if separator == "," and all(map(_THOUSANDS.fullmatch, texts)):
            continue
        if lists and all(len(ids) > 1 and all(map(_is_id, ids)) for ids in lists):
            return separator
    return None


def _is_id(text: str) -> bool:
    """Whether a text is a whole number as ids are written: 05 is a part of the number 0,05."""
    text = text.strip()
    return text.isdigit() and (text == "0" or not text.startswith("0"))


def lists_of_ids(separator: str) -> Drafted:
    """Returns why lists of ids in one text are not drafted, and how to declare them."""
    return refused(
        f"holds lists of class ids separated by {separator!r}",
        by_hand=f"kind: multi_label with num_classes, encoding: ids and separator: {separator!r}",
    )


def _are_lists(counts: Mapping[str, int], separator: str) -> bool:
    """Whether texts with ``separator`` consist of names that occur alone, or in other combinations, too."""
    lists = [text.split(separator) for text in counts if separator in text.strip()]
    if not lists:
        return False
    names = {name for one in lists for name in one}
    if separator in "|;":
        return len(names) < sum(map(len, lists)) or any(name in counts for name in names)
    return all(name.strip() in counts for name in names)


def _slips(counts: Mapping[str, int], classes: Mapping[str, int]) -> dict[str, str]:
    """Returns the name that is meant by texts that look like it or, if rare, differ from it in one edit."""
    slips: dict[str, str] = {}
    by_key: dict[str, str] = {}
    for text in sorted(counts, key=lambda one: (-counts[one], one)):
        usual = by_key.setdefault(folded(text), text)
        if usual != text:
            slips[text] = usual
    rare = [text for text in counts if text not in slips and counts[text] <= _SLIPS and len(text) >= _MIN_EDITED]
    common = [name for name in classes if name not in slips]
    for text in rare:
        near = (name for name in common if counts[name] >= _SLIP_RATIO * counts[text] and _one_edit(text, name))
        meant = max(near, key=lambda name: counts[name], default=None)
        if meant is not None:
            slips[text] = meant
    return slips


def _one_edit(first: str, second: str) -> bool:
    """Whether one letter was changed, added or lost; a changed digit makes another name."""
    if abs(len(first) - len(second)) > 1:
        return False
    short, long = sorted((first, second), key=len)
    start = next((k for k, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    changed = short[start : start + 1] + long[start : start + 1]
    return not re.search(r"\d", changed) and short[start + (len(short) == len(long)) :] == long[start + 1 :]


def _shown_apart(text: str, name: str) -> tuple[str, str]:
    """The text and the name that it may mean."""
    return quoted_apart(shortened(text, 40), shortened(name, 40))


def _shown(text: str) -> str:
    """The text on one line, as a comment of a schema file may hold it."""
    return repr(shortened(text, 40))

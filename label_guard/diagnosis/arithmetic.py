"""Causes that the values themselves show: wrapped or truncated integers, characters, blended masks, no class ids."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from label_guard.core.plural import agreed, counted
from label_guard.diagnosis.cause import LikelyCause, OtherCause, with_alternatives
from label_guard.diagnosis.illegal import WELL_KNOWN
from label_guard.diagnosis.readings import WIDEST
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.schema.labels import ClassLabel

_DIGITS = range(48, 58)
_CHARACTERS = {*_DIGITS, 9, 10, 13, 32, 43, 45, 46}
_ROUND = 12  # so many ids are all round by chance once in thousands of times
_APART = 8  # least distance of two grey levels
_LEVELS = 256  # with more classes, values are not grey levels
_LEVEL = 0.02  # share of a mask that a grey level has, and what is blended has not
_BASES = (1000, 256, 65536, 100, 10_000, 512, 1024, 4096)  # class * base + instance


def arithmetic_cause(label: ClassLabel, stats: LabelStatistics) -> LikelyCause | None:
    """The cause that follows from illegal values before their counts are weighed; None where there is none."""
    illegal = {int(v): n for v, n in stats.illegal.items()}
    if not illegal:
        return None
    words = characters(stats)
    if words is not None and label.num_classes <= _DIGITS.stop:
        return LikelyCause("ascii", words)
    for rule in (_swapped, _rounded, _truncated, _wrapped, _lossy, _no_ids):
        cause = rule(label, stats, illegal)
        if cause is not None:
            return cause
    return None


def _swapped(label: ClassLabel, stats: LabelStatistics, illegal: dict[int, int]) -> LikelyCause | None:
    """Ids whose bytes are in the other order."""
    if stats.illegal_overflow or len(illegal) < 2:
        return None
    ids, first = label.id_set, min(illegal, key=lambda v: (-illegal[v], v))
    for bits in (16, 32, 64):
        found = [_bytes_swapped(v, bits) for v in (*illegal, *stats.class_counts)]
        if label.id_range[1] >= 2 ** (bits // 2) or not all(v in ids for v in found):
            continue
        text = (
            f"each of the {counted(len(illegal), 'illegal value')} is a legal id with its {bits // 8} bytes in the "
            f"other order: {first} becomes {_bytes_swapped(first, bits)}. Read the labels in the byte order that they "
            "were written in"
        )
        gaps = OtherCause("ids-with-gaps", "raw ids that are multiples of 256")
        return with_alternatives("byte-order", text, [gaps] if bits == 16 else [])
    return None


def _bytes_swapped(value: int, bits: int) -> int:
    """``value`` of ``bits`` bits with its bytes in the other order, without a sign; -1 where it does not fit."""
    if not -(2 ** (bits - 1)) <= value < 2**bits:
        return -1
    return int.from_bytes((value % 2**bits).to_bytes(bits // 8, "big"), "little")


def _rounded(label: ClassLabel, stats: LabelStatistics, illegal: dict[int, int]) -> LikelyCause | None:
    """Ids that were stored in a float of few bits: the last one was rounded up to an illegal value."""
    top, low = label.id_range[1], label.id_range[0]
    if stats.illegal_overflow or low < 0 or min(illegal) < low:
        return None
    for bits, name in ((8, "bfloat16"), (11, "float16"), (24, "float32")):
        step = 1 << max(0, top.bit_length() - bits)
        large = [v for v in (*stats.class_counts, *illegal) if v > 2**bits]
        if len(large) < _ROUND or max(illegal) >= top + step:
            continue
        if all((v // (v & -v)).bit_length() <= bits for v in large):
            text = (
                f"none of the {len(large):,} ids above {2**bits:,} that occur has more than {bits} significant bits: "
                f"{name} rounded them, such as {top} to {max(illegal)}. Write the labels again as integers; the other "
                "ids are legal but wrong"
            )
            return LikelyCause("rounded-ids", text)
    return None


def _truncated(label: ClassLabel, stats: LabelStatistics, illegal: dict[int, int]) -> LikelyCause | None:
    ids = label.id_set
    if stats.illegal_overflow or not all(abs(v) >= 2**31 and v % 2**32 in ids for v in illegal):
        return None
    if all(v in WELL_KNOWN for v in illegal):
        return None
    first = min(illegal, key=lambda v: (-illegal[v], v))
    text = (
        f"{counted(sum(illegal.values()), 'value needs', 'values need')} more than 32 bits, and each is a legal id "
        f"after truncation: {first} "
        f"becomes {first % 2**32}, and JAX would train that class. Find what wrote the upper half"
    )
    return LikelyCause("int32-truncation", text)


def _wrapped(label: ClassLabel, stats: LabelStatistics, illegal: dict[int, int]) -> LikelyCause | None:
    """Ids beyond a signed width that became negative."""
    top = label.id_range[1]
    for bits in (8, 16, 32):
        low, whole = -(2 ** (bits - 1)), 2**bits
        wrapped = [v for v in illegal if low <= v <= top - whole]
        # The kept values are the nearest to 0: with the extremes inside both ranges, the others are wrapped too.
        others = stats.illegal_overflow and not ((stats.low or 0) >= low and (stats.high or 0) <= top)
        if top < 2 ** (bits - 1) or not wrapped or others:
            continue
        rest = [v for v in illegal if v not in wrapped and v not in WELL_KNOWN]
        if rest or (len(wrapped) < 3 and all(v in WELL_KNOWN for v in wrapped)):
            continue
        example = int(stats.low or 0) if stats.illegal_overflow else min(wrapped)
        count = sum(illegal[v] for v in wrapped) + stats.illegal_overflow
        text = (
            f"{counted(count, 'label is', 'labels are')} negative, {example}..{max(wrapped)}, with "
            f"{counted(label.num_classes, 'class')}: ids above {2 ** (bits - 1) - 1:,} wrapped around in int{bits} "
            f"({example + whole} became {example}). Store them in a wider dtype; ids that wrapped twice are legal but "
            "wrong, so write the labels again"
        )
        return LikelyCause(f"int{bits}-wrap", text)
    return None


def characters(stats: LabelStatistics) -> str | None:
    """The words for values that are all characters of numbers; None where they are not."""
    values = {*stats.class_counts, *(v for v in stats.illegal if v not in (0, 255))}
    digits = values & set(_DIGITS)
    if len(digits) < 2 or not values <= _CHARACTERS or stats.illegal_overflow:
        return None
    return (
        f"the values are {min(digits)}..{max(digits)}, the ASCII characters {chr(int(min(digits)))} to "
        f"{chr(int(max(digits)))}: the text of a number was read as bytes. Parse the text where the labels are read"
    )


def _lossy(label: ClassLabel, stats: LabelStatistics, illegal: dict[int, int]) -> LikelyCause | None:
    """Values around the ids or grey levels of a mask, as JPEG or interpolation leaves them."""
    if label.rank < 2 or stats.illegal_overflow or len(illegal) < 8:
        return None
    counts = Counter({**stats.class_counts, **stats.sentinels, **illegal})
    used = sorted(counts.keys() - illegal.keys())
    inside = len(used) > 1 and all(used[0] < v < used[-1] for v in illegal)
    if inside and max(b - a for a, b in pairwise(used)) >= _APART:
        return _blended("declared ids", used, illegal, counts)
    raw = sorted({*label.raw_ids, *stats.sentinels}) if label.num_classes <= _LEVELS else []
    levels = raw if _apart(raw) else sorted(v for v, n in counts.items() if n >= _LEVEL * counts.total())
    blended = {v: n for v, n in counts.items() if v not in levels}
    if not _apart(levels) or len(levels) > label.num_classes + len(stats.sentinels) or len(blended) < 8:
        return None
    overshoot = min(b - a for a, b in pairwise(levels)) // 2
    if min(blended) < levels[0] - overshoot or max(blended) > levels[-1] + overshoot:
        return None
    return _blended("declared ids" if levels == raw else "frequent values", levels, blended, counts)


def _blended(what: str, levels: list[int], blended: dict[int, int], counts: Counter[int]) -> LikelyCause | None:
    """The cause of ``blended`` values next to ``levels``; None where they are most of the mask."""
    share = sum(blended.values()) / counts.total()
    if share > 0.7:
        return None
    shown = ", ".join(map(str, levels)) if len(levels) < 6 else f"{levels[0]}..{levels[-1]}"
    text = (
        f"{share:.1%} of the values, {len(blended)} distinct ones, lie between or next to the {what} {shown}: "
        "a mask that was saved as JPEG or resized with interpolation. Make it again with a lossless format and "
        "nearest-neighbour resizing"
    )
    others = [OtherCause("noise", "random or corrupt values")]
    if what == "frequent values" and len(levels) > 2:
        others.append(OtherCause("other-classes", "more classes than are declared, most of them rare"))
    return with_alternatives("lossy-mask", text, others)


def _apart(ids: list[int]) -> bool:
    return len(ids) > 1 and min(b - a for a, b in pairwise(ids)) >= _APART


def _no_ids(label: ClassLabel, stats: LabelStatistics, illegal: dict[int, int]) -> LikelyCause | None:
    """Most values are illegal, and far more distinct ones than classes: the column or file holds something else."""
    bad = stats.illegal_values.positions
    distinct, total = stats.illegal_values.distinct, max(1, stats.positions)
    known = sum(n for v, n in illegal.items() if v in WELL_KNOWN)
    if bad - known < 0.7 * total or distinct < 12:
        return None
    values = sorted({*stats.class_counts, *illegal} - set(WELL_KNOWN))
    dense = len(values) >= 0.8 * (values[-1] - values[0] + 1)
    # A dense range from the first id on is another set of classes, unless it is all that a byte holds.
    whole_byte = values[0] <= 1 and 240 <= values[-1] <= 255 and label.num_classes < 128
    # So many are not classes: numbers of records occur once each, and tokens go far beyond the declared ids.
    identifiers = total < 2 * distinct or distinct > WIDEST * label.num_classes + 32
    dense = dense and not identifiers
    starts = values[0] in (0, 1, label.id_range[0]) or values[0] < 0
    if distinct <= 2 * label.num_classes and dense and not whole_byte:
        return None
    if dense and starts and not whole_byte and values[0] >= 0:
        return None
    if distinct <= label.num_classes and not stats.illegal_overflow:
        return None  # may be ids with gaps, or from another start
    return LikelyCause("not-ids", not_ids(label, stats))


def not_ids(label: ClassLabel, stats: LabelStatistics) -> str:
    """The words for values most of which are not class ids in any reading."""
    bad, distinct = stats.illegal_values.positions, stats.illegal_values.distinct
    illegal, total = {int(v): n for v, n in stats.illegal.items()}, max(1, stats.positions)
    about = "about " if stats.illegal_overflow else ""
    return (
        f"{bad:,} of {counted(total, 'value')} {agreed(bad, 'is not a declared id', 'are not declared ids')}, with "
        f"{about}{distinct:,} distinct values from {stats.low} to {stats.high}{stats.illegal_values.often_beyond()} "
        f"for {counted(label.num_classes, 'class')}: not class ids but something else, such as an image, a count, an "
        f"identifier{_packed(label, illegal)}. Check that the right column or file is read"
    )


def _packed(label: ClassLabel, illegal: dict[int, int]) -> str:
    large = [v for v in illegal if v >= 100]
    ids = set(label.raw_ids) if label.num_classes < 10**6 else set[int]()
    for base in _BASES:
        if len(large) >= 12 and min(large) >= base // 2 and all(v // base in ids for v in large):
            return f", or class and instance packed as class * {base} + instance"
    return ""

"""NumPy dtype names of a schema file, without importing NumPy: ``lint`` must start in a fraction of a second."""

from __future__ import annotations

import functools
import math
import struct

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
FLOATING = ("float16", "float32", "float64")
FAMILIES: dict[str, tuple[str, ...]] = {
    "integer": SIGNED + UNSIGNED,
    "signed": SIGNED,
    "unsigned": UNSIGNED,
    "floating": FLOATING,
}
STRING = "string"  # names in place of ids; not a NumPy name
NAMES = ("bool", *SIGNED, *UNSIGNED, *FLOATING, STRING)

_MANTISSA_BITS = {"float16": 11, "float32": 24, "float64": 53}


@functools.lru_cache(maxsize=256)  # asked some thirty times for each guard that is built
def expand(dtypes: tuple[str, ...]) -> tuple[str, ...]:
    """The dtype names that ``dtypes`` (names and families) admit, in the order of ``NAMES``."""
    admitted = {name for entry in dtypes for name in FAMILIES.get(entry, (entry,))}
    return tuple(name for name in NAMES if name in admitted)


def is_integer(name: str) -> bool:
    """Whether ``name`` is a signed or unsigned integer dtype; bool is not."""
    return name in FAMILIES["integer"]


def bits(name: str) -> int:
    """Width of ``name`` in bits, such as 32 for ``float32``."""
    return 8 if name == "bool" else int(name.lstrip("uintfloa"))


@functools.cache
def integer_range(name: str) -> tuple[int, int]:
    """Range of the integers that dtype ``name`` holds exactly.

    Returns:
        The least and the greatest integer, both inclusive; ``(0, -1)`` for ``string``.
    """
    if name == STRING:
        return 0, -1
    if name == "bool":
        return 0, 1
    if name in _MANTISSA_BITS:
        return -(2 ** _MANTISSA_BITS[name]), 2 ** _MANTISSA_BITS[name]
    width = bits(name)
    return (0, 2**width - 1) if name in UNSIGNED else (-(2 ** (width - 1)), 2 ** (width - 1) - 1)


def can_index(name: str, num_classes: int) -> bool:
    """Whether JAX indexes ``num_classes`` classes rightly with labels of dtype ``name``.

    ``jax.nn.one_hot`` builds its iota in the label's dtype, so uint8 labels with 300 classes are hot twice even
    when legal. For signed labels the number of classes itself must fit: gathers add it to negative indices, and
    int8 labels with 128 classes raise OverflowError (jax 0.10).
    """
    low, high = integer_range(name)
    return high >= num_classes if low < 0 else high >= num_classes - 1


def holds(target: str, source: str) -> bool:
    """Whether every value of dtype ``source`` is exact in dtype ``target``."""
    if STRING in (source, target):
        return source == target
    if source in FLOATING:
        return target in FLOATING and bits(target) >= bits(source)
    low, high = integer_range(source)
    target_low, target_high = integer_range(target)
    return target_low <= low and high <= target_high


# Little-endian: native packing makes infinity of 1e300.
_STRUCT = {"float16": ("<e", "<h"), "float32": ("<f", "<i"), "float64": ("<d", "<q")}


def holds_value(name: str, value: float) -> bool:
    """Returns whether dtype ``name`` holds ``value``: an integer exactly, any other number without becoming infinite.

    A float beyond 2**53, such as 1e20, counts as a fraction does: it is the stored number next to it.
    """
    if name in _STRUCT and not isinstance(value, int):
        try:
            (stored,) = struct.unpack(_STRUCT[name][0], struct.pack(_STRUCT[name][0], value))
        except OverflowError:
            return False
        return not value.is_integer() or abs(value) >= 2**53 or stored == value
    low, high = integer_range(name)
    return (isinstance(value, int) or value.is_integer()) and low <= value <= high


def greatest(name: str) -> float:
    """Greatest finite number of dtype ``name``."""
    if name not in _STRUCT:
        return integer_range(name)[1]
    number, bits_of = _STRUCT[name]
    infinity = struct.unpack(bits_of, struct.pack(number, math.inf))[0]
    return struct.unpack(number, struct.pack(bits_of, infinity - 1))[0]


def has_value_between(name: str, low: float, high: float) -> bool:
    """Whether dtype ``name`` holds a finite number in ``[low, high]``, compared exactly.

    >>> has_value_between("float32", 0.1, 0.1), has_value_between("float64", 0.1, 0.1)
    (False, True)
    """
    if name not in _STRUCT:
        least, most = integer_range(name)
        return max(least, least if low == -math.inf else math.ceil(low)) <= min(
            most, most if high == math.inf else math.floor(high)
        )
    if low > greatest(name) or high < -greatest(name):
        return False
    number, bits_of = _STRUCT[name]
    least = max(low, -greatest(name))
    rounded = struct.unpack(number, struct.pack(number, least))[0]
    if rounded < least:  # the next number up: bit patterns of floats are ordered
        pattern = struct.unpack(bits_of, struct.pack(number, rounded))[0]
        rounded = struct.unpack(number, struct.pack(bits_of, pattern + (1 if rounded >= 0 else -1)))[0]
    return rounded <= high

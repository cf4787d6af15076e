"""Finds the name that was probably meant, and lists names in a message."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

MAX_SHOWN = 10  # names that a message lists
_MAX_LENGTH = 100  # characters of a name worth comparing: the cost grows with the square
_MAX_CHOICES = 2_000
# Cyrillic and Greek letters that look like Latin ones, typed by accident where both keyboards are in use; variation
# selectors choose how the character before them is drawn.
_LATIN = str.maketrans("авеіјкмнорстухѕԁһԛԝο", "abeijkmhopctyxsdhqwo", "".join(map(chr, range(0xFE00, 0xFE10))))


def near_name(name: str, choices: Sequence[str], synonyms: Mapping[str, str] | None = None) -> str | None:
    """Returns the one of ``choices`` that ``name`` is a slip or a synonym of; None where two are as near.

    >>> near_name("numclasses", ["num_classes", "class_names"])
    'num_classes'
    >>> near_name("ignore_index", ["ignore", "emit"], {"ignore_index": "ignore"})
    'ignore'

    Args:
        name: what the user wrote.
        choices: what is known.
        synonyms: words of other tools, with the choice that each means.
    """
    from difflib import SequenceMatcher  # only a broken file pays for it

    meant = (synonyms or {}).get(name.lower())
    if meant in choices:
        return meant
    if len(name) > _MAX_LENGTH:
        return None
    slip = name.lower().replace("-", "_")
    ranked = sorted(((SequenceMatcher(None, slip, choice).ratio(), choice) for choice in choices), reverse=True)
    best, second = (*ranked, (0.0, ""), (0.0, ""))[:2]
    return best[1] if best[0] >= 0.75 and best[0] - second[0] >= 0.05 else None


def closest(name: str, choices: Iterable[str]) -> str | None:
    """Returns the nearest of ``choices``, or one of which ``name`` is a whole part of the path; None if none is near.

    >>> closest("lable", ["label", "image"]), closest("label", ["objects/label"]), closest("x", ["label"])
    ('label', 'objects/label', None)
    """
    from difflib import get_close_matches

    names = sorted(set(choices))
    if not name or len(name) > _MAX_LENGTH or len(names) > _MAX_CHOICES:
        return None
    near = get_close_matches(name, names, n=1)
    near = near or [n for n in names if n.split("/")[-1] == name or n.startswith(f"{name}/")]
    return near[0] if near else None


def folded(name: str) -> str:
    r"""Returns ``name`` without what a reader overlooks: two names that look alike give the same text.

    That is case, white space, how accents are composed, the width of characters, characters that do not print, and
    letters of other alphabets that look like Latin ones.

    >>> folded("Cafe\u0301  Noir") == folded("caf\u00e9 noir"), folded("c\u0430t\u200b")
    (True, 'cat')
    """
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name).casefold().translate(_LATIN)
        if not name.isprintable():
            name = "".join(c for c in name if unicodedata.category(c) != "Cf")
    return " ".join(name.split()).casefold()


def look_alike(name: str, choices: tuple[str, ...]) -> str | None:
    """Returns the first of ``choices`` that looks like ``name``; None if none does.

    >>> look_alike("Label ", ("image", "label"))
    'label'
    """
    return _by_fold(choices).get(folded(name))


@functools.lru_cache(maxsize=4)  # asked for each unknown name; a label may have 100,000 classes
def _by_fold(choices: tuple[str, ...]) -> dict[str, str]:
    return {folded(choice): choice for choice in reversed(choices)}


def quoted_apart(first: str, second: str) -> tuple[str, str]:
    r"""Returns two names in quotes, with escapes where they would look the same.

    >>> quoted_apart("Cat", "cat"), quoted_apart("cat", "c\u0430t")
    (("'Cat'", "'cat'"), ("'cat'", "'c\\u0430t'"))
    """
    same = folded(first) == folded(second) and first.split() != second.split() and first.casefold() != second.casefold()
    return (ascii(first), ascii(second)) if same else (repr(first), repr(second))


def listed(names: Iterable[str], *, quote: bool = False, most: int = MAX_SHOWN) -> str:
    """Returns names in a message, the first ``most`` of many.

    >>> listed("abc"), listed(map(str, range(12)))
    ('a, b, c', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more')
    """
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(repr(name) if quote else name for name in every[:most]) + more


def shortened(text: str, most: int = 60) -> str:
    """Returns ``text``, or its beginning and three dots where it has more than ``most`` characters.

    >>> shortened("label", 8), shortened("label_guard", 8)
    ('label', 'label...')
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."

"""Text from data made safe for where people see it. Record keys and values were written by others."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # the full-width forms work in spreadsheets too


def terminal(text: str) -> str:
    r"""``text`` on one line, with control, bidirectional and invisible characters as escapes.

    >>> terminal("a\x1b[31m\n\u202eb é")
    'a\\x1b[31m\\n\\u202eb é'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def csv_cell(text: str) -> str:
    """``text`` as a spreadsheet cell that is never taken for a formula.

    >>> csv_cell("=1+1"), csv_cell("-1"), csv_cell("-1+cmd")
    ("'=1+1", '-1', "'-1+cmd")
    """
    shown = terminal(text)
    # Some programs trim blanks before they look for a formula.
    harmless = _NUMBER.fullmatch(shown) or not shown.lstrip().startswith(_FORMULA)
    return shown if harmless else f"'{shown}"

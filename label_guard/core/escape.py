"""Text from data made safe for where people see it. Record keys and values were written by others."""

from __future__ import annotations

import re
import shlex

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# GitHub takes ##[name] for a command, Azure ##vso[area.name], TeamCity ##teamcity[name], wherever in a line.
_COMMAND = re.compile(r"##(?=[A-Za-z]*\[)")
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # the full-width forms work in spreadsheets too


def terminal(text: str) -> str:
    r"""Returns ``text`` on one line, with control, bidirectional and invisible characters as escapes.

    What a CI runner would take for one of its commands is escaped too: ``##[`` and ``##vso[`` anywhere, ``::`` at the
    beginning.

    >>> terminal("a\x1b[31m\n\u202eb é")
    'a\\x1b[31m\\n\\u202eb é'
    >>> terminal("##[error]"), terminal(" ::set-output::")
    ('#\\x23[error]', ' \\x3a:set-output::')
    """
    text = within_line(text)
    return text.replace("::", "\\x3a:", 1) if text.lstrip().startswith("::") else text


def within_line(text: str) -> str:
    """Returns ``text`` as ``terminal`` does, for a place within a line: ``::`` stays at its beginning."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return break_commands(text, "\\x23")


def break_commands(text: str, escape: str) -> str:
    r"""Returns ``text`` with ``escape`` in place of the second ``#`` of each command of a CI runner.

    >>> print(break_commands("##vso[a.b] ## [a] ##[b]", r"\x23"))
    #\x23vso[a.b] ## [a] #\x23[b]
    """
    return _COMMAND.sub(lambda _: f"#{escape}", text)


def lines(text: str) -> str:
    """Returns ``text`` with each of its lines made safe by ``terminal``."""
    return "\n".join(map(terminal, text.split("\n")))


def json_text(text: str) -> str:
    r"""Returns JSON text, of equal meaning, in which a CI runner finds no command.

    >>> json_text('["##[error]"]')
    '["#\\u0023[error]"]'
    """
    return break_commands(text, "\\u0023")


def shell_word(text: str) -> str:
    r"""Returns ``text`` as a word of a command to copy; what ``terminal`` would escape in the form ``$'...'`` of Bash.

    >>> shell_word("a b"), shell_word("a\x1b[0m"), shell_word("caf\udce9")
    ("'a b'", "$'a\\x1b[0m'", "$'caf\\xe9'")
    """
    if within_line(text) == text:
        return shlex.quote(text)
    try:
        raw = text.encode("utf-8", "surrogateescape")  # a file name that is not UTF-8
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogatepass")
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'#" else f"\\x{byte:02x}" for byte in raw)
    return f"$'{''.join(plain)}'"


def csv_cell(text: str) -> str:
    """``text`` as a spreadsheet cell that is never taken for a formula.

    >>> csv_cell("=1+1"), csv_cell("-1"), csv_cell("-1+cmd")
    ("'=1+1", '-1', "'-1+cmd")
    """
    shown = terminal(text)
    # Some programs trim blanks before they look for a formula.
    harmless = _NUMBER.fullmatch(shown) or not shown.lstrip().startswith(_FORMULA)
    return shown if harmless else f"'{shown}"

"""Options as a ``TypedDict`` with a docstring below each key: one documentation for ``help()``, editors and docs."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from label_guard.core.similar import near_name

_Documented = TypeVar("_Documented", bound=Callable[..., Any])


@functools.cache
def option_docs(options: type) -> dict[str, str]:
    """By name of an option, its documentation: the docstrings below the keys of the ``TypedDict`` ``options``."""
    try:
        # Of the module: to find the lines of a class in it takes ten times as long, at every start.
        tree = ast.parse(inspect.getsource(sys.modules[options.__module__]))
    except (OSError, TypeError):  # without source files, as in a frozen program
        return {}
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == options.__name__)
    docs: dict[str, str] = {}
    for key, text in itertools.pairwise(body):
        if isinstance(key, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            docs[cast("ast.Name", key.target).id] = " ".join(str(text.value.value).split())
    return docs


def shows_options(options: type) -> Callable[[_Documented], _Documented]:
    """Returns a decorator that appends every option with its documentation to a docstring, for ``help()``."""
    sections = [
        textwrap.fill(f"{name}: {text}", 116, initial_indent="    ", subsequent_indent="        ")
        for name, text in option_docs(options).items()
    ]

    def decorate(documented: _Documented) -> _Documented:
        if documented.__doc__ and sections:
            documented.__doc__ = "\n".join([inspect.cleandoc(documented.__doc__), "", "Options:", *sections, ""])
        return documented

    return decorate


def unknown_option(names: Iterable[str], options: type, caller: str) -> str | None:
    """The message for the first of ``names`` that ``options`` does not have, with the nearest one; None without any.

    Args:
        names: the keyword arguments given.
        options: the ``TypedDict`` that has them.
        caller: name of the function the user called.
    """
    known = list(options.__annotations__)
    for name in names:
        if name not in known:
            near = near_name(name, known)
            hint = f"did you mean {near}=?" if near else f"the options are {', '.join(known)}"
            return f"{caller} has no option {name}=; {hint}"
    return None

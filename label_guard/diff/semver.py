"""Versions of a promise: their order (semver.org 2.0.0) and how far one must move to declare a change."""

from __future__ import annotations

from typing import Literal, NamedTuple

Bump = Literal["major", "minor", "patch"]
BUMPS: tuple[Bump, ...] = ("patch", "minor", "major")


class Version(NamedTuple):
    """A semantic version; build metadata means nothing for its order and is left out."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()

    @property
    def core(self) -> tuple[int, int, int]:
        """The three numbers, without the pre-release."""
        return self.major, self.minor, self.patch


def parse(text: str) -> Version:
    """The version that ``text`` (checked by the schema model) means.

    >>> parse("2.0.0-rc.1+build.5")
    Version(major=2, minor=0, patch=0, pre=('rc', '1'))
    """
    numbers, _, pre = text.partition("+")[0].partition("-")
    major, minor, patch = map(int, numbers.split("."))
    return Version(major, minor, patch, tuple(pre.split(".")) if pre else ())


def is_before(old: str, new: str) -> bool:
    """Whether ``old`` precedes ``new``.

    >>> is_before("1.0.0-rc.2", "1.0.0-rc.10"), is_before("1.0.0-rc.1", "1.0.0"), is_before("1.0.0", "1.0.0+5")
    (True, True, False)
    """
    return _order(parse(old)) < _order(parse(new))


def _order(version: Version) -> tuple[object, ...]:
    # A number precedes a word, a shorter list its continuation, and any pre-release the release.
    pre = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in version.pre]
    return (*version.core, not version.pre, pre)


def version_for(old: str, bump: Bump) -> str:
    """The least release that declares a change of this weight since ``old``.

    In 0.y.z a minor declares a breaking change and a patch all else. A pre-release declares what its release will.

    >>> version_for("1.4.2", "major"), version_for("0.4.2", "major"), version_for("0.4.2", "minor")
    ('2.0.0', '0.5.0', '0.4.3')
    >>> version_for("2.0.0-rc.1", "major"), version_for("1.4.2-rc.1", "major")
    ('2.0.0', '2.0.0')
    """
    version = parse(old)
    major, minor, patch = version.core
    if major == 0:
        bump = "minor" if bump == "major" else "patch"
    zeros = {"major": minor == patch == 0 and major > 0, "minor": patch == 0, "patch": True}[bump]
    if version.pre and zeros:
        return f"{major}.{minor}.{patch}"
    return {
        "major": f"{major + 1}.0.0",
        "minor": f"{major}.{minor + 1}.0",
        "patch": f"{major}.{minor}.{patch + 1}",
    }[bump]


def declares(old: str, new: str, bump: Bump) -> bool:
    """Whether going from ``old`` to ``new`` declares a change of this weight; a pre-release counts as its release."""
    return is_before(old, new) and parse(new).core >= parse(version_for(old, bump)).core

"""Which version declares a change of a schema; order and form of versions are semver.org's (2.0.0)."""

from __future__ import annotations

from typing import Literal

from semver import Version

Bump = Literal["major", "minor", "patch"]
BUMPS: tuple[Bump, ...] = ("patch", "minor", "major")


def is_before(old: str, new: str) -> bool:
    """Whether ``old`` precedes ``new``; build metadata does not count.

    >>> is_before("1.0.0-rc.2", "1.0.0-rc.10"), is_before("1.0.0-rc.1", "1.0.0"), is_before("1.0.0", "1.0.0+5")
    (True, True, False)
    """
    return Version.parse(old) < Version.parse(new)


def version_for(old: str, bump: Bump) -> str:
    """The least release that declares a change of this weight since ``old``.

    In 0.y.z a minor declares a breaking change and a patch all else. A pre-release declares what its release will.

    >>> version_for("1.4.2", "major"), version_for("0.4.2", "major"), version_for("0.4.2", "minor")
    ('2.0.0', '0.5.0', '0.4.3')
    >>> version_for("2.0.0-rc.1", "major"), version_for("1.4.2-rc.1", "major")
    ('2.0.0', '2.0.0')
    """
    version = Version.parse(old).replace(build=None)
    if version.major == 0:
        bump = "minor" if bump == "major" else "patch"
    return str(version.next_version(bump))


def declares(old: str, new: str, bump: Bump) -> bool:
    """Whether the step from ``old`` to ``new`` declares such a change; a pre-release counts as its release.

    Args:
        old: the earlier version.
        new: the later version.
        bump: the part that such a change must raise.
    """
    return is_before(old, new) and Version.parse(new).finalize_version() >= Version.parse(version_for(old, bump))

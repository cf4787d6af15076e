"""``python -m bench.causes``: how often the right cause is named, and whether a change or a draft ever does harm."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from bench.causes.adversary import ADVERSARY
from bench.causes.hostile import HOSTILE
from bench.causes.kinds import KINDS
from bench.causes.natural import NATURAL
from bench.causes.random_kinds import RANDOM
from bench.causes.score import scores, table


def main() -> int:
    """Scores all kinds for some seeds; exit 1 on any harm."""
    parser = argparse.ArgumentParser(prog="bench.causes", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="each makes other data")
    parser.add_argument("--variants", type=int, help="at most so many of each kind")
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    parser.add_argument("--json", type=Path, help="write every score there")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    kinds = [kind for kind in (*KINDS, *ADVERSARY, *HOSTILE, *NATURAL, *RANDOM) if options.only in kind.name]
    found = [one for seed in options.seeds for one in scores(kinds, seed, variants=options.variants)]
    sys.stdout.write(f"{table(found)}\n")
    for one in found:
        if one.outcome in ("wrong", "harmful") or one.draft == "harmful":
            sys.stdout.write(f"{one.kind}: {one.outcome}: {one.said} {one.why} {one.draft}\n")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1))
    return int(any("harmful" in (one.outcome, one.draft) for one in found))


if __name__ == "__main__":
    sys.exit(main())

"""Fuzz the readers of foreign bytes, guided by coverage (atheris): ``make fuzz``.

python scripts/fuzz [target ...] [--seconds 60] [--corpus runs/fuzz]

Each target starts from its seeds, tests/corpus and what earlier runs left in --corpus. What breaks a promise, hangs
(10 s) or takes 2 GB is written to runs/fuzz/found; once fixed, it goes into tests/corpus, which the tests run.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fuzz(target: str, folder: Path, seconds: int) -> bool:
    """Fuzz one target in a process of its own; whether nothing was found."""
    corpus, found = folder / target, folder / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    held = ROOT / "tests" / "corpus" / target
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-max_len=4096",
        "-print_final_stats=1",
    ]
    command = [sys.executable, __file__, "--inside", target, *limits, f"-artifact_prefix={found}/{target}-"]
    done = subprocess.run(
        [*command, str(corpus), *([str(held)] if held.exists() else [])], capture_output=True, text=True, check=False
    )
    runs = [line.split(":")[-1].strip() for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    print(
        f"{target:11} {int(runs[0]) if runs else 0:9,} inputs  {'sound' if done.returncode == 0 else 'FOUND'}",
        flush=True,
    )
    if done.returncode:
        print(done.stdout[-3000:] + done.stderr[-1500:], flush=True)
    return done.returncode == 0


def inside(arguments: list[str]) -> None:
    """Run atheris, which never returns."""
    import atheris

    with atheris.instrument_imports(include=["label_guard", "ruamel"]):
        from targets import TARGETS
    target = TARGETS[arguments[0]]
    corpus = Path(next(argument for argument in arguments[1:] if not argument.startswith("-")))
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def run(data: bytes) -> None:
        with contextlib.redirect_stdout(None):
            target.run(data)

    atheris.Setup([sys.argv[0], *arguments[1:]], run)
    atheris.Fuzz()


def main() -> int:
    """Fuzz; 1 where something was found."""
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2:])
    from targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all, if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--corpus", type=Path, default=ROOT / "runs" / "fuzz", help="grows from run to run")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no target is called {sorted(unknown)[0]}")
    sound = [fuzz(name, options.corpus, options.seconds) for name in options.targets or TARGETS]
    return int(not all(sound))


if __name__ == "__main__":
    sys.exit(main())

"""Train on digits with planted label faults, without and with the guard, and show the difference: ``make run``.

python scripts/demo.py [--data data] [--runs runs] [--steps 600]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from plant_faults import plant
from prepare_digits import prepare

from label_guard import read_quarantine
from label_guard.core.plural import counted
from label_guard.rules.registry import RULES

HERE = Path(__file__).parent


def train(data: Path, workdir: Path, on_invalid: str, steps: int) -> dict[str, Any]:
    """One run of train.py from the start; its log goes to WORKDIR/log.txt."""
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    options = ["--data", data, "--workdir", workdir, "--on-invalid", on_invalid, "--steps", steps]
    with (workdir / "log.txt").open("w") as log:
        done = subprocess.run([sys.executable, HERE / "train.py", *map(str, options)], stdout=log, stderr=log)
    if done.returncode:
        sys.exit(f"training failed; the end of {workdir / 'log.txt'}:\n{(workdir / 'log.txt').read_text()[-2000:]}")
    return json.loads((workdir / "result.json").read_text())


def show_runs(runs: dict[str, dict[str, Any]]) -> None:
    print(f"\n{'':12}{'losses not finite':>20}{'test accuracy':>16}")
    for name, result in runs.items():
        bad = f"{result['non_finite']} of {len(result['losses'])}"
        print(f"{name:12}{bad:>20}{result['accuracy']:>16.4f}")


def show_quarantine(folder: Path, planted: dict[str, list[str]]) -> bool:
    """Reasons by rule, and whether just the planted records are there."""
    entries = read_quarantine(str(folder)).entries
    reasons = Counter((v.rule, str(v.value)) for entry in entries for v in entry.violations)
    print(f"\nside file   {folder}: {counted(len(entries), 'record')}, each once")
    for rule in sorted({rule for rule, _ in reasons}):
        values = {value: count for (code, value), count in reasons.items() if code == rule}
        shown = ", ".join(f"{value} ({count})" for value, count in sorted(values.items()))
        print(f"  {rule} {RULES[rule].name:20} {sum(values.values()):4}   {shown}")
    visible = {key for fault, keys in planted.items() if fault != "one_based_in_range" for key in keys}
    same = visible == {entry.record for entry in entries}
    hidden = len(planted["one_based_in_range"])
    print(f"planted     {len(visible)} faults outside the schema: {'just these records' if same else 'NOT THE SAME'}")
    print(f"            {hidden} labels shifted within 0..9: legal values, which no range check can see")
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=int, default=600)
    args = parser.parse_args()
    clean = prepare(args.data)
    faulty = args.data / "digits_faulty" / clean.name
    planted = plant(clean, faulty)
    print(f"data        {faulty}: 1,500 train records with planted faults, see planted.json", flush=True)
    runs: dict[str, dict[str, Any]] = {}
    for name, on_invalid in (("unguarded", "off"), ("guarded", "drop")):
        print(f"training    {name}, {args.steps} steps; log: {args.runs / name / 'log.txt'}", flush=True)
        runs[name] = train(faulty, args.runs / name, on_invalid, args.steps)
    show_runs(runs)
    print(f"\nguard       {runs['guarded']['counts'].split(';')[0]}")
    same = show_quarantine(args.runs / "guarded" / "quarantine", planted)
    command = os.path.relpath(Path(sys.executable).with_name("label-guard"))
    print(f"look        {command} quarantine show {args.runs / 'guarded' / 'quarantine'}")
    page = audit_faulty(command, faulty, args.runs)
    return 0 if same and page else 1


def audit_faulty(command: str, data: Path, runs: Path) -> bool:
    """Audit the faulty data from the command line, its report as a page; whether it found the faults."""
    page = runs / "audit.html"
    arguments = [
        "audit",
        HERE.parent / "configs" / "digits.yaml",
        "--source",
        f"tfds:{data}",
        "--report",
        f"html={page}",
    ]
    print(f"\naudit       {command} {' '.join(os.path.relpath(a) if isinstance(a, Path) else a for a in arguments)}\n")
    done = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    print("\n".join(f"  {line}" if line else "" for line in done.stdout.splitlines()))
    print(done.stderr, end="", file=sys.stderr)
    print(f"\npage        {page}")
    return done.returncode == 1 and page.exists()


if __name__ == "__main__":
    sys.exit(main())

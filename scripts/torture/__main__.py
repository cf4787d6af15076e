"""Runs training and audits under real faults and counts what was lost or read twice: ``make torture``.

python scripts/torture [scenario ...] [--runs 10] [--lives 8] [--seed 0] [--json runs/torture.json]

Each scenario makes runs of several lives. A life ends in a fault (SIGKILL of the process or of a worker, a full disk, a
folder that may not be written, torn lines, SIGSTOP and SIGCONT); the next goes on from the last checkpoint, in some
scenarios under another policy, or behind a loader that fills the same arrays again. After one
last life without a fault each good record must have been delivered once an epoch, and the quarantine must hold each bad
record once. Audits are killed, interrupted and given corrupt shards: none may call itself complete that was not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import audits
from guarded import BATCH, DISK_FULL, EPOCHS, Run, live
from lives import PATIENCE_S, Figures, children, end, fork, hold, wait, wait_until_held

from label_guard.quarantine.reader import read_quarantine

NOBODY = 65534


Faults = tuple[str, ...]
# Faults of the lives of each scenario; of "mixed" one is drawn for each life.
SCENARIOS: dict[str, Faults] = {
    "kill": ("kill",),
    "stop": ("stop",),
    "torn": ("torn",),
    "zeroed": ("zeroed",),
    "disk": ("disk",),
    "readonly": ("readonly",),
    "mixed": ("kill", "stop", "torn", "disk", "readonly"),
    "workers": ("kill", "worker", "torn"),
    "reused": ("kill", "torn"),  # the loader fills the same arrays again
    "policy": ("kill", "torn"),  # each life has a policy of its own
    "hosts-2": ("kill",),
    "hosts-4": ("kill", "stop"),
}
HELD = ("torn", "zeroed")  # strike a run that has stopped itself while its quarantine was ahead of its checkpoint


# One life -------------------------------------------------------------------------------------------------------------


def started(run: Run, pid: int) -> int | None:
    """Wait until all workers of a run have delivered; its exit status where it ended.

    A worker that is killed while it starts can leave its parent waiting forever, with or without a guard: CPython's
    spawn writes to a pipe that nobody reads (``multiprocessing/popen_spawn_posix.py``). No fault of ours strikes there.
    """
    path = run.folder / "checkpoint.json"
    deadline = time.monotonic() + PATIENCE_S
    seen: set[int] = set()
    while time.monotonic() < deadline and len(seen) < 3:
        status = wait(pid, 0)
        if status is not None:
            return status
        if len(children(pid)) == run.workers and path.exists():
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.01)
    return None


def tear(run: Run, chance: random.Random) -> bool:
    """Cut files of the quarantine anywhere in what was written after the last checkpoint, or leave half a line."""
    sizes: dict[str, int] = run.saved()["sizes"]
    grown = run.unsaved()
    cut = [path for path in grown if chance.random() < 0.7] or grown[:1]
    for path in cut:
        os.truncate(path, chance.randint(sizes.get(path.name, 0), path.stat().st_size - 1))
    halved = [path for path in run.quarantine.glob("*.jsonl") if path not in cut and chance.random() < 0.3]
    for path in halved:
        with path.open("ab") as file:
            file.write(b'{"v": 1, "id": "0123')
    return bool(cut or halved)


def zero(run: Run, chance: random.Random) -> bool:
    """Fill a run of what was written after the last checkpoint with zeros, as a power loss does."""
    sizes: dict[str, int] = run.saved()["sizes"]
    grown = [path for path in run.unsaved() if path.suffix == ".jsonl"]
    for path in grown:
        size, sure = path.stat().st_size, sizes.get(path.name, 0)
        start = chance.choice((sure, chance.randint(sure, size - 1)))
        with path.open("r+b") as file:
            file.seek(start)
            file.write(bytes(size - start))
    return bool(grown)


def lead(run: Run, fault: str, lives: int, chance: random.Random, figures: Figures) -> None:
    """One of the lives of a run, under a fault."""
    figures.lives += 1
    log = run.folder / "life.log"
    log.write_bytes(b"")
    limit = chance.randint(200, 6000) if fault == "disk" else None
    # Bad records are written in the first epoch alone: each life gets its part of that.
    part = max(1, len(run.good) // BATCH // lives)
    hold_after = chance.randrange(part) if fault in HELD and not run.workers else None
    pid = fork(lambda: _life(run, fault, limit, hold_after), log)
    status = started(run, pid) if run.workers else None
    if status is None:
        status = _torment(pid, fault, chance, figures, held=hold_after is not None)
    if status == -signal.SIGKILL and fault in (*HELD, "kill"):
        figures.faults["process killed"] += 1
        if fault == "torn" and tear(run, chance):
            figures.faults["lines torn"] += 1
        if fault == "zeroed" and zero(run, chance):
            figures.faults["parts zeroed"] += 1
    elif status == DISK_FULL and fault in ("disk", "readonly"):
        figures.faults["disk full" if fault == "disk" else "folder read-only"] += 1
    elif status and not (fault == "worker" and b"terminated unexpectedly" in log.read_bytes()):
        output = log.read_text(errors="replace")[-800:]
        figures.wrong.append(f"a life under {fault!r} ended with {status}: {output}")
    end(pid)  # workers that outlived it
    if fault == "readonly":
        run.quarantine.chmod(0o777)


def _life(run: Run, fault: str, max_file_bytes: int | None = None, hold_after: int | None = None) -> int:
    if fault == "readonly":
        run.quarantine.mkdir(exist_ok=True)
        run.quarantine.chmod(0o555)
        if os.getuid() == 0:  # whom no rights hold
            os.setuid(NOBODY)
    was_done = run.saved()["done"]
    status = live(run, max_file_bytes, hold_after)
    if fault in ("kill", "stop") and not (was_done or run.workers):
        hold()  # however busy the machine is, the run does not end before its fault
    return status


def _torment(pid: int, fault: str, chance: random.Random, figures: Figures, *, held: bool = False) -> int | None:
    status = None
    if held:
        status = wait_until_held(pid, PATIENCE_S)
    elif fault in (*HELD, "kill", "worker", "stop"):
        status = wait(pid, chance.uniform(0.01, 0.3))
    if status is None and fault in (*HELD, "kill"):
        end(pid)
    if status is None and fault == "worker" and (workers := children(pid)):
        os.kill(chance.choice(workers), signal.SIGKILL)
        figures.faults["worker killed"] += 1
    if status is None and fault == "stop":
        for _ in range(3):
            os.killpg(pid, signal.SIGSTOP)
            time.sleep(chance.uniform(0.0, 0.05))
            os.killpg(pid, signal.SIGCONT)
            figures.faults["stopped and continued"] += 1
            status = wait(pid, chance.uniform(0.0, 0.03))
            if status is not None:
                return status
        end(pid)
        status = wait(pid, PATIENCE_S)
        figures.faults["process killed"] += status == -signal.SIGKILL
        return None if status == -signal.SIGKILL else status
    if status is None:
        status = wait(pid, PATIENCE_S)
    if status is None:
        figures.hangs += 1
        end(pid)
        wait(pid, PATIENCE_S)
    return status


# Runs -----------------------------------------------------------------------------------------------------------------


def run_scenario(place: Path, scenario: str, lives: int, chance: random.Random, figures: Figures) -> None:
    """Lead one run, or one of each host, through faults to its end, and check what became of every record."""
    policy = chance.choice(("drop", "mask"))
    hosts = int(scenario.rpartition("-")[2]) if scenario.startswith("hosts") else 1
    runs = [
        Run(
            place / str(host),
            place / "q",
            policy,
            workers=2 if scenario == "workers" else 0,
            hosts=hosts,
            host=host,
            number=750 * lives if scenario == "workers" else 2000 * hosts,
            batches=scenario == "policy" or (scenario == "reused" and chance.random() < 0.5),
            reused=scenario in ("reused", "policy"),
        )
        for host in range(hosts)
    ]
    for run in runs:
        run.folder.mkdir()
        run.folder.chmod(0o777)
    if hosts > 1:
        _together(runs, SCENARIOS[scenario], lives, chance, figures)
    else:
        for _ in range(lives):
            if scenario == "policy":
                runs[0] = replace(runs[0], policy=chance.choice(("drop", "mask")))
            lead(runs[0], chance.choice(SCENARIOS[scenario]), lives, chance, figures)
    for run in runs:
        _finish(run, figures)
    figures.compare(
        [int(entry.record or -1) for entry in read_quarantine(str(place / "q")).entries],
        [k for run in runs for k in run.bad],
        "in the quarantine",
    )
    figures.runs += 1


def _together(runs: list[Run], faults: Faults, lives: int, chance: random.Random, figures: Figures) -> None:
    """All hosts at once; each is stopped or killed at a moment of its own."""
    for _ in range(lives):
        drawn = [chance.choice(faults) for _ in runs]
        pids = [
            fork(lambda run=run, fault=fault: _life(run, fault), run.folder / "life.log")
            for run, fault in zip(runs, drawn, strict=True)
        ]
        figures.lives += len(pids)
        for pid, fault in chance.sample([*zip(pids, drawn, strict=True)], len(pids)):
            status = _torment(pid, fault, chance, figures)
            end(pid)
            figures.faults["process killed"] += status == -signal.SIGKILL
            if status not in (0, None, -signal.SIGKILL):
                figures.wrong.append(f"a host ended with {status}")


def _finish(run: Run, figures: Figures) -> None:
    """The last life, without a fault."""
    log = run.folder / "life.log"
    log.write_bytes(b"")
    pid = fork(lambda: live(run), log)
    figures.lives += 1
    status = wait(pid, PATIENCE_S)
    if status is None:
        figures.hangs += 1
        end(pid)
        wait(pid, PATIENCE_S)
    saved = run.saved()
    if status != 0 or not saved["done"] or not saved["conserved"]:
        figures.wrong.append(f"the last life ended with {status}: {log.read_text(errors='replace')[-800:]}")
    figures.compare(saved["delivered"], run.good * EPOCHS, "delivered")


# Figures --------------------------------------------------------------------------------------------------------------


def line(name: str, figures: Figures, seconds: float) -> str:
    """A scenario in one line."""
    faults = ", ".join(f"{count} {what}" for what, count in sorted(figures.faults.items()))
    counts = f"lost {figures.lost}, read twice {figures.twice}, wrong {len(figures.wrong)}, hung {figures.hangs}"
    return f"{name:9} {figures.runs:4} runs {figures.lives:5} lives  {counts}  {seconds:5.0f} s  [{faults}]"


def main() -> int:
    """Run scenarios; 1 where a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*SCENARIOS, "audit"]
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(names)}; all, if none is named")
    parser.add_argument("--runs", type=int, default=10, help="runs of each scenario")
    parser.add_argument("--lives", type=int, default=8, help="lives of each run that end in a fault")
    parser.add_argument("--seed", type=int, default=0, help="draws the faults and their moments")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(names):
        parser.error(f"no scenario is called {sorted(unknown)[0]}")
    results: dict[str, Figures] = {}
    for name in options.scenarios or names:
        figures = results[name] = Figures()
        chance = random.Random(f"{options.seed} {name}")
        begun = time.monotonic()
        for _ in range(options.runs):
            with tempfile.TemporaryDirectory(prefix="torture-") as folder:
                Path(folder).chmod(0o755)
                if name == "audit":
                    audits.run_audits(Path(folder), options.lives, chance, figures)
                else:
                    run_scenario(Path(folder), name, options.lives, chance, figures)
        print(line(name, figures, time.monotonic() - begun), flush=True)
        for breach in figures.wrong:
            print(f"    {breach}", flush=True)
    total = sum((Counter(figures.faults) for figures in results.values()), Counter())
    print(f"in all    {', '.join(f'{count:,} {what}' for what, count in sorted(total.items()))}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({name: figures.to_json() for name, figures in results.items()}, indent=1))
    return int(not all(figures.sound for figures in results.values()))


if __name__ == "__main__":
    sys.exit(main())

"""Living with dirty data: baselines, indexes of good records, audits that are stopped or whose workers die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard import DatasetSchema, UsageError
from label_guard.audit.bad_places import BadPlace, BadPlaces
from label_guard.audit.baseline import Baseline, compare, read_baseline
from label_guard.audit.conclude import with_baseline
from label_guard.audit.good_index import good_positions
from label_guard.audit.plan import plan_audit
from label_guard.audit.runner import audit_dataset, open_splits
from label_guard.audit.shard import ShardAuditor
from label_guard.audit.workers import AuditControl, run_shards
from label_guard.pipeline.select import select_records
from label_guard.schema.reader import load_schema
from tests.schemas import PLANTED

Run = Callable[..., tuple[int, str, str]]


def write(folder: Path, labels: Sequence[Sequence[int]]) -> list[object]:
    """A schema file and one Parquet file for each list of labels; the arguments of an audit of them."""
    (folder / "planted.yaml").write_text(PLANTED)
    for shard, values in enumerate(labels):
        pq.write_table(pa.table({"label": np.array(values, np.int64)}), folder / f"train-{shard}.parquet")
    return ["audit", folder / "planted.yaml", "--source", f"parquet:{folder}/train-*.parquet"]


def test_a_baseline_lets_known_bad_records_pass_and_fails_on_new_ones(tmp_path: Path, run: Run) -> None:
    """What was bad when it was written is a warning, what was not is an error, and what is sound again is reported."""
    arguments, known = write(tmp_path, [[0, 10, 2], [-1, 4]]), tmp_path / "known.json"
    assert run(*arguments)[0] == 1
    assert run(*arguments, "--write-baseline", known)[0] == 0
    assert json.loads(known.read_text())["splits"][""] == {
        "train-0.parquet__1": [["label LG101"]],
        "train-1.parquet__0": [["label LG102"]],
    }
    code, out, _ = run(*arguments, "--baseline", known)
    assert code == 0
    assert "0 new, 2 known, 0 fixed" in out
    write(tmp_path, [[0, 1, 11], [-1, 4]])
    code, out, _ = run(*arguments, "--baseline", known, "--report", f"json={tmp_path}/a.json")
    assert code == 1
    assert "1 new, 1 known, 1 fixed (train-0.parquet__1)" in out
    assert "not in the baseline: 1, first train-0.parquet__2" in out
    again, rendered, _ = run("report", tmp_path / "a.json")
    assert (again, rendered) == (1, out)


def test_a_known_record_that_breaks_another_rule_is_new(tmp_path: Path, run: Run) -> None:
    """A baseline knows what was wrong, not only where."""
    arguments, known = write(tmp_path, [[0, 10]]), tmp_path / "known.json"
    run(*arguments, "--write-baseline", known)
    write(tmp_path, [[0, -1]])
    code, out, _ = run(*arguments, "--baseline", known)
    assert code == 1
    assert "1 new, 0 known, 0 fixed" in out


@given(st.dictionaries(st.integers(0, 9), st.sets(st.sampled_from("ab"), min_size=1)), st.data())
@settings(max_examples=60)
def test_new_known_and_fixed_are_set_differences(now: dict[int, set[str]], data: st.DataObject) -> None:
    """The comparison agrees with plain sets of (record, rule)."""
    then = data.draw(st.dictionaries(st.integers(0, 9), st.sets(st.sampled_from("ab"), min_size=1)))
    bad, known = (
        BadPlaces(BadPlace(f"f__{k}", "f", k, tuple(sorted(rules))) for k, rules in sorted(one.items()))
        for one in (now, then)
    )
    found = compare(known, bad, whole=True)
    pairs = {(k, r) for k, rules in now.items() for r in rules} - {(k, r) for k, rules in then.items() for r in rules}
    assert found.new == len({k for k, _ in pairs})
    assert found.known == len(now) - found.new
    assert found.fixed == len(set(then) - set(now))
    assert {r: n for r, (n, _) in found.new_by_rule.items()} == {
        r: sum(rule == r for _, rule in pairs) for r in {rule for _, rule in pairs}
    }


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (None, "does not exist"),
        ("{", "cannot read the baseline"),
        ("[]", "is not a baseline of version 2"),
        ('{"baseline": 3, "dataset": "planted", "splits": {}}', "is not a baseline of version 2: baseline:"),
        ('{"baseline": 1, "dataset": "planted", "splits": {"": [1]}}', "is not a baseline of version 2"),
        ('{"baseline": 1, "dataset": "planted", "splits": {"": {"a": [1]}}}', "is not a baseline of version 2"),
        ('{"baseline": 1, "dataset": "cifar10", "splits": {}}', "is of dataset 'cifar10', not of 'planted'"),
    ],
)
def test_a_baseline_that_is_none_is_refused(tmp_path: Path, run: Run, content: str | None, reported: str) -> None:
    """A missing, damaged or foreign baseline is one clear error, never an audit without one."""
    arguments, known = write(tmp_path, [[0]]), tmp_path / "known.json"
    if content is not None:
        known.write_text(content)
    code, out, err = run(*arguments, "--baseline", known)
    assert (code, out) == (2, "")
    assert reported in err


KEYED = """format: 1
name: keyed
version: 1.0.0
record_key: id
labels:
  label: {kind: class_label, num_classes: 10}
"""
ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1, -1, 10, 77])), max_size=7)


@given(then=ROWS, now=ROWS)
@settings(max_examples=30, deadline=None)
def test_repeated_record_keys_hide_no_record(
    tmp_path_factory: pytest.TempPathFactory, then: list[tuple[str, int]], now: list[tuple[str, int]]
) -> None:
    """With keys that are not unique, as many bad records of a key are known as there were; no index lists a bad one."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "s.yaml").write_text(KEYED)
    reports = []
    for name, rows in (("then", then), ("now", now)):
        (folder / f"{name}.csv").write_text("id,label\n" + "".join(f"{key},{label}\n" for key, label in rows))
        reports.append(audit_dataset(folder / "s.yaml", source=f"csv:{folder}/{name}.csv", keep_bad=True))
    split = reports[1].splits[0]
    good = good_positions(split).tolist()
    assert good == [row for row, (_, label) in enumerate(now) if label == 1]
    with (folder / "known.json").open("wb") as file:
        Baseline("keyed", {"": reports[0].splits[0].bad}).write(file)
    compared = with_baseline(reports[1], read_baseline(str(folder / "known.json"))).splits[0].baseline
    broken = [Counter((key, min(label, 10)) for key, label in rows if label != 1) for rows in (then, now)]
    assert compared is not None
    assert compared.new == (broken[1] - broken[0]).total()
    keys = [Counter(key for key, label in rows if label != 1) for rows in (then, now)]
    assert compared.fixed == (keys[0] - keys[1]).total()
    assert set(split.repeated_keys) == {key for key, count in keys[1].items() if count > 1}


def test_many_records_of_one_key_are_compared_soon() -> None:
    """A key that every record has costs no more than keys of their own."""
    bad = BadPlaces(BadPlace("same", "a", row, (f"label LG10{row % 3}",)) for row in range(20_000))
    found = compare(bad[5_000:], bad, whole=True)
    assert (found.new, found.known, found.fixed) == (5_000, 15_000, 0)


@pytest.mark.parametrize("suffix", [".npz", ".txt"])
def test_the_index_of_good_records_selects_exactly_these(tmp_path: Path, run: Run, suffix: str) -> None:
    """A source read through the index yields every good record in order, and no other."""
    labels = [[0, 10, 2, 3], [-1, 4], [5, 6, 7]]
    arguments, index = write(tmp_path, labels), tmp_path / f"good{suffix}"
    assert run(*arguments, "--good-index", index)[0] == 1

    class Source(list[int]):
        paths = [str(tmp_path / f"train-{shard}.parquet") for shard in range(3)]

        def record_key(self, position: int) -> str:
            """As an ArrayRecord source names its records."""
            shard = next(s for s in range(3) if position < sum(map(len, labels[: s + 1])))
            return f"train-{shard}.parquet__{position - sum(map(len, labels[:shard]))}"

    source = Source(value for values in labels for value in values)
    selected = select_records(source, index)
    assert list(selected) == [0, 2, 3, 4, 5, 6, 7]
    assert selected.record_key(3) == "train-1.parquet__1"


def test_an_index_for_another_source_is_refused(tmp_path: Path, run: Run) -> None:
    """Positions of one dataset never select records of another: the number of records must agree."""
    arguments, index = write(tmp_path, [[0, 10, 2]]), tmp_path / "good.npz"
    run(*arguments, "--good-index", index)
    with pytest.raises(UsageError, match="made for a source of 3 records, not of 4"):
        select_records([1, 2, 3, 4], index)


def test_nothing_is_written_of_a_dataset_that_could_not_be_read_to_its_end(tmp_path: Path, run: Run) -> None:
    """A damaged file makes positions unknown: no index and no baseline come out, and the audit says so."""
    arguments = write(tmp_path, [[0, 1], [2]])
    (tmp_path / "train-1.parquet").write_bytes(b"PAR1 no more")
    for option, name in (("--good-index", "good.npz"), ("--write-baseline", "known.json")):
        code, out, err = run(*arguments, option, tmp_path / name)
        assert code == 2
        assert "LG402" in out
        assert "not all records were read" in err
        assert not (tmp_path / name).exists()


def test_several_schemas_write_a_report_each(tmp_path: Path, run: Run) -> None:
    """One run audits a folder of schemas; {schema} in a report's name keeps the reports apart."""
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    for name, label in (("good", 1), ("bad", 10)):
        pq.write_table(pa.table({"label": [label]}), schemas / f"{name}.parquet")
        text = PLANTED.replace("planted", name) + f"splits:\n  train: {{source: 'parquet:{name}.parquet'}}\n"
        (schemas / f"{name}.yaml").write_text(text)
    code, _, err = run("audit", schemas, "--report", f"json={tmp_path}/all.json")
    assert (code, err.count("put {schema} into its name")) == (2, 1)
    assert run("audit", schemas, "--report", f"json={tmp_path}/of-{{schema}}.json")[0] == 1
    found = {name: json.loads((tmp_path / f"of-{name}.json").read_text())["findings"] for name in ("good", "bad")}
    assert [f["rule"] for f in found["bad"] if f["severity"] == "error"] == ["LG101"]
    assert not [f for f in found["good"] if f["severity"] == "error"]


SLOW = """
import os, time
def records():
    for k in range(10_000):
        if k == 50:
            open(os.environ["STARTED"], "w").close()
        time.sleep(0.002)
        yield {"label": k % 10}
"""


def test_ctrl_c_leaves_a_report_marked_incomplete(tmp_path: Path) -> None:
    """An interrupted audit reports what it has read, says that it is incomplete, exits 2, and leaves no half file."""
    write(tmp_path, [])
    (tmp_path / "slow.py").write_text(SLOW)
    report, started = tmp_path / "audit.json", tmp_path / "started"
    source = ["--source", "python:slow:records", "--report", f"json={report}"]
    command = [sys.executable, "-m", "label_guard", "audit", str(tmp_path / "planted.yaml"), *source]
    environment = {**os.environ, "STARTED": str(started)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not started.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "Traceback" not in err
    found = json.loads(report.read_text())
    assert found["complete"] is False
    assert 0 < found["splits"][0]["records"] < 10_000
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_an_audit_over_workers_stops_with_what_was_read(tmp_path: Path) -> None:
    """Once it is asked to stop, workers end after their chunk and the shards not begun are left out."""
    write(tmp_path, [[0, 1, 2]] * 6)
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": "n", "version": "1.0.0", "labels": {"label": {"kind": "class_label", "num_classes": 10}}}
    )
    report = audit_dataset(
        schema, source=f"parquet:{tmp_path}/train-*.parquet", workers=2, control=AuditControl(should_stop=lambda: True)
    )
    assert not report.complete
    assert report.splits[0].records < 18
    assert report.exit_code == 2


def die_on_two(task: int, go_on: Callable[[int], bool]) -> int:
    """A worker that is killed by what it reads."""
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    go_on(1)
    return task * 10


def test_a_killed_worker_costs_its_own_shard_alone() -> None:
    """The shard that kills its process is reported by name; all others are audited."""
    found = dict(run_shards([0, 1, 2, 3, 4], die_on_two, workers=2))
    assert {task: result for task, result in found.items() if task != 2} == {0: 0, 1: 10, 3: 30, 4: 40}
    assert "died" in str(found[2])


def test_progress_ends_at_all_records_and_shards(tmp_path: Path) -> None:
    """Whatever the workers, the last word of the progress is everything."""
    write(tmp_path, [[0, 1, 2]] * 3)
    reported: list[Any] = []
    for workers in (0, 2):
        audit_dataset(
            tmp_path / "planted.yaml",
            source=f"parquet:{tmp_path}/train-*.parquet",
            workers=workers,
            control=AuditControl(progress=reported.append),
        )
        assert (reported[-1].records, reported[-1].shards_done, reported[-1].shards) == (9, 3, 3)
        assert reported[-1].expected == 9


def test_options_that_contradict_each_other_are_refused(tmp_path: Path, run: Run) -> None:
    """What could not be done rightly is refused before anything is read."""
    arguments = write(tmp_path, [[0]])
    for options, reported in (
        (["--write-baseline", "b", "--limit", "1"], "need all records"),
        (["--good-index", "g.npz", "--shards", "0/2"], "need all records"),
        (["--good-index", "g.csv"], "expected .npz"),
        (["--baseline", "b", "--write-baseline", "b"], "pass one of them"),
    ):
        code, out, err = run(*arguments, *options)
        assert (code, out) == (2, "")
        assert reported in err
        assert "Traceback" not in err


def test_a_shard_can_be_audited_by_itself(tmp_path: Path) -> None:
    """The unit of work of every engine is plain: an item in, counts out."""
    write(tmp_path, [[0, 10]])
    schema = load_schema(tmp_path / "planted.yaml")
    plan = plan_audit(schema, open_splits(schema, f"parquet:{tmp_path}/train-0.parquet"))
    (found,) = ShardAuditor(plan.jobs)(plan.items[0]).shards
    assert (found.records, found.invalid) == (2, 1)


MASKED = """
import signal
from label_guard.audit.workers import run_shards

def held(task, go_on):
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])

if __name__ == "__main__":
    print([result for _, result in run_shards([1, 2, 3], held, workers=2)])
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_ctrl_c_reaches_no_worker_that_still_starts(tmp_path: Path) -> None:
    """Workers hold Ctrl-C back from their first instruction, so none shows a traceback; this process does not."""
    (tmp_path / "program.py").write_text(MASKED)
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split("\n")[:2] == ["[True, True, True]", "False"]

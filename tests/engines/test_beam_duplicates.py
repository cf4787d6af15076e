"""Records of the same content on Beam: whatever the order and the tree of merges, the groups of the local search."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from label_guard import DatasetSchema, UsageError
from label_guard.audit.content import content_features
from label_guard.audit.duplicate_search import find_duplicates
from label_guard.audit.duplicates import FoundGroups
from label_guard.audit.plan import AuditPlan, plan_audit
from label_guard.audit.runner import open_splits
from label_guard.cli.app import main
from label_guard.engines import beam_duplicates

# Few contents with many labels: groups far larger than what is held of one.
RECORDS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(-1, 12)), min_size=1, max_size=80)
# One record of another label, or of another split, at the end of many.
LAST_LABEL = [
    (split, text, label)
    for text, mine, last in ((0, 1, 2), (1, 2, 1))
    for split, label in [*[(number % 3, -1) for number in range(30)], (0, mine), (1, mine), (2, mine), (2, last)]
]
LAST_SPLIT = [
    (split, text, label)
    for text in range(4)
    for split, label in [*[(0, number % 10) for number in range(30) if number % 10 != text], (1, text)]
]


def plan_of(folder: Path, records: list[tuple[int, int, int]]) -> AuditPlan:
    """Three splits of two files each; a record is its split, its content and its label; -1 is none."""
    label = {"kind": "class_label", "num_classes": 10, "unlabeled": -1}
    splits = {f"s{number}": {"source": f"jsonl:{folder}/s{number}-*.jsonl"} for number in range(3)}
    fields = {"format": 1, "name": "n", "version": "1.0.0", "labels": {"label": label}, "splits": splits}
    for number in range(3):
        lines = [json.dumps({"text": t, "label": k}) + "\n" for s, t, k in records if s == number]
        for file in range(2):
            (folder / f"s{number}-{file}.jsonl").write_text("".join(lines[file::2]))
    schema = DatasetSchema.model_validate(fields)
    return plan_audit(schema, open_splits(schema))


@given(records=RECORDS, held=st.integers(20, 30), order=st.randoms(use_true_random=False))
@example(records=LAST_LABEL, held=20, order=Random(0))
@example(records=LAST_SPLIT, held=20, order=Random(0))
@settings(max_examples=30)
def test_any_tree_of_merges_finds_what_the_local_search_finds(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, int, int]], held: int, order: Random
) -> None:
    """Counts, groups and examples, with so few records held of a content that most are only counted."""
    plan = plan_of(tmp_path_factory.mktemp("data"), records)
    content = ("text",)
    numbered = list(enumerate(plan.items))
    digests = [pair for item in numbered for pair in beam_duplicates._digested(item, plan.jobs, content)]
    order.shuffle(digests)
    combine = beam_duplicates.Merging(list, beam_duplicates._merge_records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam_duplicates, "_HELD", held)
        parts: list[dict[bytes, list[bytes]]] = [{}, {}, {}]
        for place, (key, value) in enumerate(digests):
            mine = parts[place % 3]
            mine[key] = combine.add_input(mine.get(key, combine.create_accumulator()), value)
        keys = {key for part in parts for key in part}
        merged = {key: combine.merge_accumulators([part[key] for part in parts if key in part]) for key in keys}
    found = [FoundGroups(["s0", "s1", "s2"]) for _ in range(2)]
    for place, pair in enumerate(merged.items()):
        for group in beam_duplicates._groups(pair, ["s0", "s1", "s2"]):
            found[place % 2].merge(group)
    assert found[0].merge(found[1]).result([]) == find_duplicates(plan, content)


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part of the records before the run, and records of labels alone by the workers: exit 2, as here."""
    plan = plan_of(tmp_path, [(0, 1, 1)])
    with pytest.raises(UsageError, match=r"records of jsonl:.* have none"):
        content_features(plan.jobs, {"label"})
    (tmp_path / "s.yaml").write_text(
        "format: 1\nname: n\nversion: 1.0.0\nlabels:\n  label: {kind: class_label, num_classes: 10}\n"
    )
    (tmp_path / "labels.jsonl").write_text('{"label": 1}\n')
    command = ["audit", str(tmp_path / "s.yaml"), "--runner", "beam", "--duplicates"]
    for more, reason in (
        (["--source", f"jsonl:{tmp_path}/s0-0.jsonl", "--limit", "1"], "leave out the limit"),
        (["--source", f"jsonl:{tmp_path}/labels.jsonl"], "features that are not labels"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*command, *more])
        err = capsys.readouterr().err
        assert (ended.value.code, reason in err, "may have died" in err) == (2, True, False), err

"""An audit in every format: golden files; and the HTML page in a parser and in a real browser."""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
import re
import tempfile
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel

from label_guard import DatasetSchema, UsageError
from label_guard.audit.conclude import merge_reports, parse_report, read_report
from label_guard.audit.report import AuditReport, ShardReport, SplitReport
from label_guard.audit.runner import audit_dataset
from label_guard.audit.thumbnails import MAX_THUMBNAILS, thumbnail
from label_guard.cli import app as cli
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.report.audit_text import AUDIT_FORMATS, render_audit

GOLDEN = Path(__file__).parents[1] / "golden" / "audit"
ENDINGS = {"github": "github.txt", "junit": "xml", "markdown": "md", "text": "txt"}
SCHEMA = """
format: 1
name: planted
version: 1.2.0
labels:
  label: {kind: class_label, num_classes: 4, class_names: [cat, dog, "a|b <i>", "no"]}
  score: {kind: real_label, minimum: 0, maximum: 1}
splits:
  train: {num_examples: 62, source: "jsonl:train-*.jsonl"}
  test: {source: "jsonl:test.jsonl", labels: {label: {unlabeled: -1}}}
"""
VOID = {"meta", "br", "img", "rect", "path", "input"}
NASTY = "<script>alert(1)</script>\"'&\x1b[31m\u202e]]>{{ 7*7 }}"


def make(folder: Path) -> None:
    """A schema and a dataset of two splits, with faults at known places and a damaged line."""
    (folder / "planted.yaml").write_text(SCHEMA)
    for shard in range(2):
        rows = [{"label": (k + shard) % 3, "score": k / 30} for k in range(30)]
        rows[4]["label"] = [4, -1][shard]
        rows[9]["score"] = 7.5
        lines = [json.dumps(row) for row in rows]
        if shard:
            lines[20] = "{broken"
        (folder / f"train-{shard}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "test.jsonl").write_text("".join(json.dumps({"label": -1, "score": 0.5}) + "\n" for _ in range(7)))


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuditReport:
    """The audit of that dataset, read by relative paths."""
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    return audit_dataset("planted.yaml")


@pytest.mark.parametrize("style", AUDIT_FORMATS)
def test_an_audit_reads_as_it_did(report: AuditReport, style: str) -> None:
    """Each format is as in its golden file, byte for byte; a change of it is seen in review."""
    golden = GOLDEN / f"audit.{ENDINGS.get(style, style)}"
    assert render_audit(report, style) + "\n" == golden.read_text(encoding="utf-8")


def test_a_page_says_each_other_reading_once(report: AuditReport) -> None:
    """The text of a cause names its other readings; the page does not list them a second time."""
    page = html.unescape(render_audit(report, "html"))
    readings = [other.text for cause in report.diagnoses for other in cause.alternatives]
    assert readings
    assert [page.count(reading) for reading in readings] == [1] * len(readings)


def test_a_report_of_version_1_is_still_read(report: AuditReport) -> None:
    """What an earlier release wrote renders as today's audit of the same data."""
    old = read_report(GOLDEN / "audit-version-1.json")
    assert render_audit(old, "text") == render_audit(report, "text")


@pytest.mark.parametrize("style", AUDIT_FORMATS)
def test_an_audit_is_rendered_again_without_the_data(report: AuditReport, style: str) -> None:
    """What the JSON holds is enough for every format, pictures included."""
    picture = thumbnail(np.zeros((4, 4), np.uint8))
    assert picture is not None

    report = report.model_copy(update={"thumbnails": {"train": {"train-0.jsonl__4": picture}}})
    again = parse_report(render_audit(report, "json"))
    assert render_audit(again, style) == render_audit(report, style)
    assert (picture in render_audit(again, "html")) is True


class Page(HTMLParser):
    """Reads a page: refuses what is not well nested, and remembers tags, ids and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def having(self, attribute: str) -> list[str]:
        """The values of an attribute, in order."""
        return [value or "" for _, attributes in self.tags for name, value in attributes.items() if name == attribute]


def check_page(text: str) -> Page:
    """What holds of every page: sound, self-contained, without script, usable without eyes or a mouse."""
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert all(value.startswith("data:image/png;base64,") for value in page.having("src"))
    assert all(value.startswith("#") for value in page.having("href"))
    assert "url(" not in text
    assert "default-src 'none'" in page.having("content")[0]
    ids = page.having("id")
    assert len(ids) == len(set(ids))
    referred = {value.lstrip("#") for value in page.having("href")}
    referred |= {one for value in page.having("aria-labelledby") for one in value.split()}
    assert referred <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert {"main", "header", "nav", "footer"} <= names
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert sum(tag == "caption" for tag, _ in page.tags) == tables
    assert all(a.get("scope") in ("col", "row") for tag, a in page.tags if tag == "th")
    assert all(a.get("role") == "img" and a.get("aria-labelledby") for tag, a in page.tags if tag == "svg")
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")
    assert all(a.get("tabindex") == "0" for tag, a in page.tags if a.get("class") == "scroll")
    return page


def test_the_page_is_sound_and_accessible(report: AuditReport) -> None:
    """The page nests, links and labels as a browser and a screen reader need it, and fetches nothing."""
    page = check_page(render_audit(report, "html"))
    assert "Audit of planted" in " ".join(page.text)


def nasty_report(text: str) -> AuditReport:
    """An audit in which every word that data can choose is ``text``."""
    label = {"kind": "class_label", "num_classes": 2, "class_names": [text + "a", text + "b"]}
    fields = {"format": 1, "name": "n", "version": "1.0.0", "labels": {"label": label}}
    schema = DatasetSchema.model_validate({**fields, "splits": {"train": {}}})
    plain = audit_of(schema)
    plain["dataset"] = plain["schema"]["name"] = "n"
    split = plain["splits"][0]
    split["source"]["uri"] = text
    records = {"records": 4, "unreadable": 1}
    split["shards"][0] |= {"name": text, "error": text, "unreadable_examples": [[text, text]], **records}
    split |= records
    for kept in split["labels"]["label"]["examples"].values():
        for example in kept:
            example |= {"record": text, "value": text, "legal": text}
    plain["thumbnails"] = {"train": {text: f'data:image/png;base64,AAAA" onerror="{text}'}}
    return parse_report(json.dumps(plain))


def audit_of(schema: DatasetSchema) -> dict[str, Any]:
    """The JSON of a small audit with one bad record."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.csv").write_text("label\n0\n1\n2\n")
        return audit_dataset(schema, source=f"csv:{folder}/a.csv", splits=["train"]).to_json()


@lru_cache
def plain_tags() -> list[str]:
    """The tags of the page of a plain word."""
    return [tag for tag, _ in check_page(render_audit(nasty_report("word"), "html")).tags]


@given(text=st.one_of(st.just(NASTY), st.text(min_size=1, max_size=30)))
@settings(max_examples=40)
def test_nothing_of_the_data_becomes_markup(text: str) -> None:
    """Whatever is in names, keys, values, paths and pictures, the page has the tags it has for plain words."""
    page = render_audit(nasty_report(text), "html")
    nasty = check_page(page)
    assert [tag for tag, _ in nasty.tags] == plain_tags()
    shown = "".join(nasty.text)
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert "<img" not in page


@given(text=st.one_of(st.just(NASTY), st.text(min_size=1, max_size=30)))
@settings(max_examples=25)
def test_no_format_for_people_lets_control_characters_through(text: str) -> None:
    """A terminal, a log and a comment on a pull request get text without escapes, newlines and tricks of direction."""
    report = nasty_report(text)
    for style in ("text", "github", "markdown"):
        lines = render_audit(report, style).split("\n")
        assert all(line.isprintable() for line in lines), style
    assert "<script" not in render_audit(report, "markdown")
    assert sum(line.startswith("::") for line in render_audit(report, "github").split("\n")) <= len(report.findings) + 1


def page_of(folder: Path, classes: int, records: int = 20_000) -> str:
    """The page of an audit of many classes with a long tail, two of its values out of range."""
    values = np.random.default_rng(0).zipf(1.3, records) % classes
    values[:2] = classes + 5
    np.save(folder / "labels.npy", values.astype(np.int64))
    label = {
        "kind": "class_label",
        "num_classes": classes,
        "class_names": [f"class number {k}" for k in range(classes)],
    }
    fields = {"format": 1, "name": "many", "version": "1.0.0", "labels": {"label": label}}
    return render_audit(audit_dataset(DatasetSchema.model_validate(fields), source=f"npy:{folder}/labels.npy"), "html")


def test_a_thousand_classes_stay_readable(tmp_path: Path) -> None:
    """Charts by id and by count hold at most 240 bars, on a linear and a log scale; tables show both ends."""
    text = page_of(tmp_path, 1000)
    page = check_page(text)
    assert 4 <= sum(tag == "rect" for tag, _ in page.tags) <= 4 * 240
    assert sum("plot" in (a.get("class") or "") for _, a in page.tags) == 4
    assert "The 25 most frequent of 1,000 classes" in text
    assert "The 25 rarest classes in use" in text
    assert '<th scope="row" class="number">1005</th><td class="number">2</td>' in text
    assert ("details", {}) in page.tags


@pytest.mark.parametrize("classes", [2, 100_000])
def test_the_page_is_bounded_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    """From 2 to 100,000 named classes the page stays below 200 kB."""
    assert len(page_of(tmp_path, classes)) < 200_000


def test_splits_are_compared(tmp_path: Path) -> None:
    """Each split is a line in one chart, with its distance from the first split in the table."""
    for name, values in (("train", [0, 0, 1, 1]), ("test", [1, 1, 1, 1])):
        np.save(tmp_path / f"{name}.npy", np.array(values))
    fields = {
        "format": 1, "name": "n", "version": "1.0.0", "labels": {"label": {"kind": "class_label", "num_classes": 2}},
        "splits": {name: {"source": f"npy:{tmp_path}/{name}.npy"} for name in ("train", "test")},
    }  # fmt: skip
    text = render_audit(audit_dataset(DatasetSchema.model_validate(fields)), "html")
    check_page(text)
    assert text.count('<path class="s') == 4  # two lines, and their keys in the table
    assert '<td class="number">0.500</td>' in text


# Pictures -------------------------------------------------------------------------------------------------------------


def decoded(uri: str | None) -> Image.Image:
    """The picture in a data: URI."""
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def encoded(image: Image.Image, style: str) -> bytes:
    """The bytes of a picture file."""
    out = io.BytesIO()
    image.save(out, style)
    return out.getvalue()


@pytest.mark.parametrize("style", ["PNG", "JPEG", "GIF"])
def test_pictures_are_shrunk_and_small_ones_kept(style: str) -> None:
    """A large picture fits 96 pixels with its proportions, a small one stays as it is."""
    assert decoded(thumbnail(encoded(Image.new("RGB", (400, 200), "red"), style))).size == (96, 48)
    assert decoded(thumbnail(np.full((8, 6, 1), 9, np.uint8))).size == (6, 8)


def test_what_is_no_picture_has_no_thumbnail() -> None:
    """Damaged, huge and other values cost nothing but their picture."""
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    large = encoded(Image.new("1", (10_000, 10_000)), "PNG")
    for value in (
        b"",
        b"\x89PNG no",
        bomb,
        large,
        np.zeros(3, np.uint8),
        np.zeros((2, 2), np.float32),
        7,
        None,
        "text",
    ):
        assert thumbnail(value) is None


def test_examples_come_with_their_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page of an image dataset shows the bad records themselves, and the JSON keeps them for the next rendering."""
    images = np.stack([np.full((5, 5, 3), k, np.uint8) for k in range(6)])
    np.savez(tmp_path / "a.npz", image=images, label=np.array([0, 1, 9, 0, -1, 1]))
    (tmp_path / "s.yaml").write_text(
        "format: 1\nname: n\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 2}}\n"
    )
    arguments = ["--source", f"npz:{tmp_path}/a.npz", "--report", f"html={tmp_path}/a.html"]
    with pytest.raises(SystemExit) as exit_:
        cli.main(["audit", str(tmp_path / "s.yaml"), *arguments, "--report", f"json={tmp_path}/a.json"])
    assert exit_.value.code == 1
    kept = json.loads((tmp_path / "a.json").read_text())["thumbnails"][""]
    assert {key: decoded(uri).getpixel((0, 0)) for key, uri in kept.items()} == {"2": (2, 2, 2), "4": (4, 4, 4)}
    text = (tmp_path / "a.html").read_text()
    check_page(text)
    assert all(uri in text for uri in kept.values())
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main(["report", str(tmp_path / "a.json"), "--format", "html"])
    assert capsys.readouterr().out == text
    assert len(kept) <= MAX_THUMBNAILS


@pytest.mark.parametrize("pictures", [7, {"": 7}, [["", "x"]], {"": [1]}, None])
def test_pictures_that_are_none_are_a_mistake_of_the_file(
    report: AuditReport, tmp_path: Path, capsys: pytest.CaptureFixture[str], pictures: Any
) -> None:
    """A report that was edited by hand is refused in a sentence."""
    (tmp_path / "a.json").write_text(json.dumps({**report.to_json(), "thumbnails": pictures}))
    with pytest.raises(SystemExit) as exit_:
        cli.main(["report", str(tmp_path / "a.json"), "--format", "html"])
    assert exit_.value.code == 2
    assert "is not an audit report: thumbnails" in capsys.readouterr().err


def test_merged_parts_keep_their_pictures(tmp_path: Path) -> None:
    """The page of a merged audit shows what the parts show; parts of different splits are not parts of one audit."""
    make(tmp_path)
    parts = [audit_dataset(tmp_path / "planted.yaml", shards=(k, 2)) for k in range(2)]
    uris = [f"data:image/png;base64,{letter * 4}" for letter in "AB"]
    shown = [{"train": {f"train-{k}.jsonl__4": uri}} for k, uri in enumerate(uris)]
    merged = merge_reports(
        [part.model_copy(update={"thumbnails": found}) for part, found in zip(parts, shown, strict=True)]
    )
    assert merged.thumbnails == {"train": {**shown[0]["train"], **shown[1]["train"]}}
    other = audit_dataset(tmp_path / "planted.yaml", shards=(1, 2), splits=["train"])
    with pytest.raises(UsageError, match="different splits"):
        merge_reports([parts[0], other])


def test_a_split_that_could_not_be_read_says_why_where_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``0 bad`` alone would pass for a result."""
    monkeypatch.chdir(tmp_path)
    Path("doubled.csv").write_text("label,label\n1,99\n")
    Path("schema.yaml").write_text(
        "format: 1\nname: t\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 10}}\n"
    )
    with pytest.raises(SystemExit) as exit_:
        cli.main(["audit", "schema.yaml", "--source", "csv:doubled.csv"])
    assert exit_.value.code == 2
    [line] = [line for line in capsys.readouterr().out.splitlines() if "0 records" in line]
    assert "0 bad; nothing could be read: doubled.csv has 2 columns named 'label'" in line


@pytest.mark.parametrize("model", [AuditReport, SplitReport, ShardReport, LabelStatistics])
def test_the_documentation_names_each_field_of_the_json_report(model: type[BaseModel]) -> None:
    """docs/audit.md names the fields as the JSON report does."""
    documented = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    written = [field.serialization_alias or field.alias or name for name, field in model.model_fields.items()]
    assert [name for name in written if f"`{name}`" not in documented] == []


def test_rare_invalid_values_come_first(tmp_path: Path) -> None:
    """The page lists invalid values by how rare they are; of many, the rarest and the most frequent ones."""
    labels = [value for value in range(100, 200) for _ in range(value - 98)]
    (tmp_path / "a.csv").write_text("y\n" + "".join(f"{value}\n" for value in labels), encoding="utf-8")
    (tmp_path / "a.yaml").write_text(
        "format: 1\nname: a\nversion: 1.0.0\nlabels:\n  y: {kind: class_label, num_classes: 3}\n", encoding="utf-8"
    )
    page = render_audit(audit_dataset(str(tmp_path / "a.yaml"), source=f"csv:{tmp_path / 'a.csv'}"), "html")
    table = page[page.index("the rarest first") :]
    table = table[: table.index("</table>")]
    shown = [int(value) for value in re.findall(r'<th scope="row" class="number">(\d+)</th>', table)]
    assert shown == [*range(100, 120), *range(180, 200)]
    assert f"{sum(range(22, 82)):,} more positions" in table


def test_words_of_a_record_with_a_key_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``record_key`` a key does not name the place; of the first record of an invalid value it is known."""
    rows = [{"id": f"k{row}", "y": 7 if row == 4 else row % 3, "text": f"words of {row}"} for row in range(9)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "a.yaml").write_text(
        "format: 1\nname: a\nversion: 1.0.0\nrecord_key: id\n"
        "labels:\n  y: {kind: class_label, num_classes: 3}\nsplits:\n  train: {source: 'jsonl:a.jsonl'}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["audit", "a.yaml", "--report", "html=a.html"])
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "words of 4" in page
    assert page.count("words of") == 1

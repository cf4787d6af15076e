"""What lint prints of one file is bounded, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from label_guard.cli import app
from label_guard.report import FORMATS


@pytest.mark.parametrize("style", FORMATS)
def test_many_problems_of_one_file_are_counted_and_few_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    """The first 1,000 problems and the number of the others; the next file has its own."""
    head = "format: 1\nname: d\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 3}}\n"
    (tmp_path / "many.yaml").write_text(head + "".join(f"x{number}: 1\n" for number in range(1500)))
    (tmp_path / "one.yaml").write_text(head + "unknown: 1\n")
    with pytest.raises(SystemExit) as stopped:
        app.main(["lint", str(tmp_path), "--format", style])
    out = capsys.readouterr().out
    assert stopped.value.code == 1
    assert "1,500 problems are in this file, of which 1,000 are listed" in out
    assert style == "markdown" or "one.yaml" in out  # Markdown lists the first 50 of all
    assert len(out) < 1_500_000

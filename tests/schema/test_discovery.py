"""Which files a command is about."""

import os

import pytest

from label_guard.errors import UsageError
from label_guard.schema.discovery import default_names, find_files
from label_guard.schema.reader import read_schema


def _tree(folder):
    for name in ("a.yaml", "deep/b.yml", "deep/er/c.json", "deep/notes.txt", ".git/d.yaml", "[x].yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def test_a_folder_stands_for_the_schema_files_below_it(tmp_path):
    """YAML and JSON at any depth, sorted; hidden folders and other files left out."""
    _tree(tmp_path)
    files, missing = find_files([tmp_path])
    assert [file.removeprefix(f"{tmp_path}/") for file in files] == [
        "[x].yaml",
        "a.yaml",
        "deep/b.yml",
        "deep/er/c.json",
    ]
    assert missing == []


def test_globs_files_and_folders_give_each_file_once(tmp_path, monkeypatch):
    """Names may overlap; the first decides the order, and names stay relative where they were."""
    _tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert find_files(["deep/*.yml", "**/*.json", "deep", "[x].yaml"])[0] == [
        "deep/b.yml",
        "deep/er/c.json",
        "[x].yaml",
    ]
    assert find_files([str(tmp_path / "*.yaml")])[0] == [str(tmp_path / "[x].yaml"), str(tmp_path / "a.yaml")]


def test_a_name_that_stands_for_nothing_is_reported(tmp_path):
    """An empty folder and a glob without a match are LG200; a plain name is left to whoever reads it."""
    (tmp_path / "empty").mkdir()
    files, missing = find_files([tmp_path / "empty", f"{tmp_path}/*.yaml", "a**b", tmp_path / "absent.yaml"])
    assert files == [str(tmp_path / "absent.yaml")]
    assert [(d.rule, d.file) for d in missing] == [
        ("LG200", f"{tmp_path}/empty"),
        ("LG200", f"{tmp_path}/*.yaml"),
        ("LG200", "a**b"),
    ]


def test_without_names_pyproject_decides(tmp_path, monkeypatch):
    """Schemas of [tool.label_guard] counts from the nearest pyproject.toml, from any folder below; else configs."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    (tmp_path / "pyproject.toml").write_text('[tool.label_guard]\nschemas = ["data/*.yaml", "more"]\n')
    assert default_names() == ["../data/*.yaml", "../more"]
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert default_names() == ["../configs"]
    assert default_names(tmp_path) == ["configs"]


@pytest.mark.parametrize(
    "text",
    ["[tool.label_guard\n", "[tool.label_guard]\nschemas = 'x'\n", "[tool.label_guard]\nschemas = [1]\n", "\xff"],
)
def test_a_wrong_pyproject_is_a_usage_error(tmp_path, text):
    """A file that cannot be read, or schemas that are not a list of names, are named in the error."""
    (tmp_path / "pyproject.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="pyproject"):
        default_names(tmp_path)


def test_links_pipes_and_any_case_are_in_sight(tmp_path):
    """Whatever has the name of a schema is found: a link to a folder, a link to nowhere, a pipe, A.YAML; loops end."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "far.yaml").write_text("")
    top = tmp_path / "configs"
    top.mkdir()
    (top / "A.YAML").write_text("")
    (top / "gone.yaml").symlink_to("nowhere.yaml")
    (top / "linked").symlink_to("../shared")
    (top / "again").symlink_to("../shared")
    (top / "loop").symlink_to("..")
    (top / "self").symlink_to(".")
    os.mkfifo(top / "pipe.yaml")
    files, _ = find_files([top])
    names = sorted(os.path.relpath(file, top) for file in files)
    assert names[:2] == ["A.YAML", "again/far.yaml"]
    assert set(names[2:]) - {"linked/far.yaml"} == {"gone.yaml", "pipe.yaml"}


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "dangling"])
def test_what_is_not_a_regular_file_is_an_error_at_once(tmp_path, kind):
    """Nothing is waited for, nothing is read without end."""
    place = tmp_path / "x.yaml"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    [found] = read_schema(place).diagnostics
    assert found.rule == "LG200"
    assert ("regular file" in found.message) == (kind != "dangling")

"""``label-guard diff`` through its command line, on real files and real git repositories."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from label_guard.cli.app import main

SCHEMA = """\
format: 1
name: NAME
version: 1.0.0
labels:
  label: {kind: class_label, num_classes: 3, class_names: [ant, bee, cow]}
splits:
  train: {num_examples: 100}
"""
IDENTITY = ("-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "commit.gpgsign=false")


class Result(NamedTuple):
    """How the command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def found(self) -> list[tuple[str, str, str | None]]:
        """Rule, severity and file of each diagnostic of a JSON report."""
        return [(d["rule"], d["severity"], d["file"]) for d in json.loads(self.out)["diagnostics"]]


def label_guard(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Result:
    """The command line: in this process, which is fast, or with ``env`` in one of its own."""
    if env is not None:
        command = [sys.executable, "-c", "from label_guard.cli.app import main; main()", *arguments]
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return Result(done.returncode, done.stdout, done.stderr)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        for context in (contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)):
            stack.enter_context(context)
        ended = stack.enter_context(pytest.raises(SystemExit))
        main(list(arguments))
    return Result(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def diff(*arguments: str, cwd: Path) -> Result:
    """``label-guard diff`` with a JSON report."""
    return label_guard("diff", *arguments, "--format", "json", cwd=cwd)


def git(*arguments: str, cwd: Path) -> str:
    """Git, with an identity for commits and none of the settings of the machine."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *IDENTITY, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(repository: Path, message: str = "change") -> None:
    """Everything in the working tree as one commit."""
    git("add", "--all", cwd=repository)
    git("commit", "--quiet", "--message", message, cwd=repository)


def edit(file: Path, old: str, new: str) -> None:
    """Replace text that is there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with three schemas on ``main`` and ``work`` checked out."""
    folder = tmp_path / "repository"
    (folder / "configs").mkdir(parents=True)
    for name in ("one", "two", "three"):
        (folder / "configs" / f"{name}.yaml").write_text(SCHEMA.replace("NAME", name), encoding="utf-8")
    (folder / "configs" / "README.md").write_text("Schemas.\n", encoding="utf-8")
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    commit(folder, "schemas")
    git("checkout", "--quiet", "-b", "work", cwd=folder)
    return folder


def test_an_unchanged_tree_is_clean(repository: Path) -> None:
    """Nothing differs: exit 0, and the number of files says that they were looked at."""
    result = label_guard("diff", "--against", "main", cwd=repository, env={**os.environ})
    assert (result.code, result.out) == (0, "label-guard diff: 3 files checked, nothing found\n")


@pytest.mark.parametrize("state", ["working tree", "staged", "committed"])
def test_a_breaking_change_fails_until_the_version_says_so(repository: Path, state: str) -> None:
    """Uncommitted work counts as new, staged or not; the message names the version, and writing it passes."""
    file = repository / "configs" / "one.yaml"
    edit(file, "[ant, bee, cow]", "[bee, ant, cow]")
    if state == "staged":
        git("add", "--all", cwd=repository)
    if state == "committed":
        commit(repository)
    result = diff("--against", "main", cwd=repository)
    assert result.code == 1
    assert result.found == [("LG306", "error", "configs/one.yaml"), ("LG350", "error", "configs/one.yaml")]
    edit(file, "version: 1.0.0", "version: 2.0.0")
    result = diff("--against", "main", cwd=repository)
    assert (result.code, result.found) == (0, [("LG306", "note", "configs/one.yaml")])
    assert diff("--against", "main", "--fail-on", "breaking", cwd=repository).code == 1


def test_the_base_is_the_merge_base_unless_exact(repository: Path) -> None:
    """What others changed on main since the branch was cut is not reported as undone by this branch."""
    git("checkout", "--quiet", "main", cwd=repository)
    edit(repository / "configs" / "two.yaml", "train: {num_examples: 100}", "train: {num_examples: 200}")
    edit(repository / "configs" / "two.yaml", "version: 1.0.0", "version: 1.1.0")
    commit(repository)
    git("checkout", "--quiet", "work", cwd=repository)
    assert diff("--against", "main", cwd=repository).found == []
    exact = diff("--against", "main", "--exact", cwd=repository)
    assert exact.code == 1
    assert [rule for rule, _, _ in exact.found] == ["LG324", "LG351"]


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_renamed_file_is_followed(repository: Path, is_committed: bool) -> None:
    """A moved schema is compared with itself, whether git sees the rename or only the name of the schema does."""
    (repository / "configs" / "new").mkdir()
    (repository / "configs" / "one.yaml").rename(repository / "configs" / "new" / "first.yaml")
    edit(
        repository / "configs" / "new" / "first.yaml", "num_classes: 3, class_names: [ant, bee, cow]", "num_classes: 2"
    )
    if is_committed:
        commit(repository)
    result = diff("--against", "main", cwd=repository)
    assert result.code == 1
    assert [rule for rule, _, _ in result.found] == ["LG342", "LG309", "LG305", "LG350"]
    assert {file for _, _, file in result.found} == {"configs/new/first.yaml"}


def test_a_renamed_file_with_a_renamed_schema_is_found_by_git(repository: Path) -> None:
    """Where the name of the schema changed too, git's rename detection finds the pair."""
    git("mv", "configs/one.yaml", "configs/uno.yaml", cwd=repository)
    edit(repository / "configs" / "uno.yaml", "name: one", "name: uno")
    result = diff("--against", "main", cwd=repository)
    assert [rule for rule, _, _ in result.found] == ["LG342", "LG330", "LG350"]


def test_names_go_before_what_git_takes_for_a_rename(repository: Path) -> None:
    """Two schemas that change places are each compared with themselves, though the files look alike."""
    folder = repository / "configs"
    (folder / "one.yaml").rename(folder / "a.yaml")
    (folder / "two.yaml").rename(folder / "b.yaml")
    commit(repository)
    result = diff("--against", "main", cwd=repository)
    assert (result.code, result.found) == (0, [("LG342", "note", f"configs/{name}.yaml") for name in "ab"])
    moved = [d["message"] for d in json.loads(result.out)["diagnostics"]]
    assert ["configs/one.yaml" in moved[0], "configs/two.yaml" in moved[1]] == [True, True]


def test_a_schema_moved_out_of_the_paths_is_no_deletion(repository: Path) -> None:
    """The whole repository is looked at for where a file went, or came from."""
    (repository / "archive").mkdir()
    (repository / "configs" / "one.yaml").rename(repository / "archive" / "one.yaml")
    commit(repository)
    for paths in ("configs", "archive"):
        result = diff("--against", "main", paths, cwd=repository)
        assert (result.code, result.found) == (0, [("LG342", "note", "archive/one.yaml")])


def _link(place: Path, target: str) -> None:
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def test_a_schema_replaced_by_a_link_to_nowhere_is_removed(repository: Path) -> None:
    """The file is gone, and what is in its place cannot be read."""
    _link(repository / "configs" / "two.yaml", "nowhere.yaml")
    commit(repository)
    result = diff("--against", "main", "configs", cwd=repository)
    assert result.code == 2
    assert result.found == [("LG340", "error", "configs/two.yaml"), ("LG200", "error", "configs/two.yaml")]


def test_a_link_out_of_the_repository_is_work_not_done(repository: Path) -> None:
    """Git holds no earlier version of what lies outside, nor can the old link be followed."""
    outside = repository.parent / "outside.yaml"
    (repository / "configs" / "two.yaml").rename(outside)
    _link(repository / "configs" / "two.yaml", str(outside))
    commit(repository)
    assert diff("--against", "main", "configs", cwd=repository).code == 2
    assert diff("--against", "HEAD", "configs", cwd=repository).code == 2


@pytest.mark.parametrize("link", ["file", "folder", "link", "target"])
def test_links_are_followed_on_both_sides(repository: Path, link: str) -> None:
    """A change behind a link is a change: of the file, of a folder that is a link, of a link's link, of the target."""
    shared, place = repository / "shared", repository / "configs" / "one.yaml"
    shared.mkdir()
    place.rename(shared / "one.yaml")
    if link == "folder":
        _link(repository / "configs" / "more", "../shared")
    elif link == "link":
        _link(repository / "middle.yaml", "shared/one.yaml")
        _link(place, "../middle.yaml")
    else:
        _link(place, "../shared/one.yaml")
    commit(repository)
    git("branch", "--force", "main", cwd=repository)
    assert diff("--against", "main", "configs", cwd=repository).found == []
    if link == "target":
        shutil.copy(shared / "one.yaml", shared / "other.yaml")
        _link(place, "../shared/other.yaml")
    edit(shared / ("other.yaml" if link == "target" else "one.yaml"), "name: one", "name: won")
    commit(repository)
    result = diff("--against", "main", "configs", cwd=repository)
    assert result.code == 1
    assert ("LG330", "error") in [(rule, severity) for rule, severity, _ in result.found]


def test_a_list_of_schemas_that_narrows_is_seen(repository: Path) -> None:
    """The names of both revisions are looked at; a file that is no longer named is out of the gate."""
    project = repository / "pyproject.toml"
    project.write_text('[tool.label_guard]\nschemas = ["configs/**/*.yaml"]\n', encoding="utf-8")
    commit(repository)
    git("branch", "--force", "main", cwd=repository)
    project.write_text('[tool.label_guard]\nschemas = ["configs/one.yaml", "configs/three.yaml"]\n', encoding="utf-8")
    commit(repository)
    assert diff("--against", "main", cwd=repository).found == [("LG340", "error", "configs/two.yaml")]
    edit(repository / "configs" / "two.yaml", "name: two", "name: too")
    found = diff("--against", "main", cwd=repository).found
    assert {("LG330", "error", "configs/two.yaml"), ("LG340", "error", "configs/two.yaml")} <= set(found)
    (repository / "away").mkdir()
    (repository / "configs" / "three.yaml").rename(repository / "away" / "three.yaml")
    commit(repository)
    assert ("LG340", "error", "away/three.yaml") in diff("--against", "main", cwd=repository).found


def test_a_pipe_in_place_of_a_schema_is_work_not_done(repository: Path) -> None:
    """It is not waited for."""
    (repository / "configs" / "two.yaml").unlink()
    os.mkfifo(repository / "configs" / "two.yaml")
    assert diff("--against", "main", "configs", cwd=repository).code == 2


@pytest.mark.parametrize("paths", [[], ["configs"], ["configs/two.yaml"], ["configs/t*.yaml"]])
def test_a_deleted_schema_is_breaking(repository: Path, paths: list[str]) -> None:
    """Its promise is gone; a file, a folder or a glob may name what is no longer there."""
    (repository / "configs" / "two.yaml").unlink()
    result = diff("--against", "main", *paths, cwd=repository)
    assert (result.code, result.found) == (1, [("LG340", "error", "configs/two.yaml")])


def test_a_deleted_folder_is_all_its_schemas_deleted(repository: Path) -> None:
    """Also when nothing is left to look at; other files in the folder are not schemas."""
    shutil.rmtree(repository / "configs")
    result = diff("--against", "main", cwd=repository)
    assert result.code == 1
    assert result.found == [("LG340", "error", f"configs/{name}.yaml") for name in ("one", "three", "two")]


def test_an_added_schema_is_compatible(repository: Path) -> None:
    """A new file, committed or not, passes, but not under ``--fail-on any``."""
    (repository / "configs" / "four.yaml").write_text(SCHEMA.replace("NAME", "four"), encoding="utf-8")
    assert diff("--against", "main", cwd=repository).found == [("LG341", "note", "configs/four.yaml")]
    commit(repository)
    assert diff("--against", "main", cwd=repository).code == 0
    assert diff("--against", "main", "--fail-on", "any", cwd=repository).code == 1


def test_only_the_named_paths_are_compared(repository: Path) -> None:
    """A change elsewhere is not reported."""
    edit(repository / "configs" / "one.yaml", "num_examples: 100", "num_examples: 1")
    assert diff("--against", "main", "configs/two.yaml", cwd=repository).found == []
    assert diff("--against", "main", "configs/one.yaml", cwd=repository).code == 1


def test_files_are_named_from_the_current_folder(repository: Path) -> None:
    """From a folder below, paths lead back up, and pyproject.toml says what is meant."""
    (repository / "pyproject.toml").write_text('[tool.label_guard]\nschemas = ["configs/o*.yaml"]\n', encoding="utf-8")
    (repository / "src").mkdir()
    for name in ("one", "two"):
        edit(repository / "configs" / f"{name}.yaml", "num_examples: 100", "num_examples: 1")
    result = diff("--against", "main", cwd=repository / "src")
    assert {file for _, _, file in result.found} == {"../configs/one.yaml"}
    assert result.code == 1


@pytest.mark.parametrize("name", ["../configs", "../configs/one.yaml", "./one.yaml", "{configs}", "../configs/*.yaml"])
def test_a_file_named_in_another_way_has_not_moved(repository: Path, name: str) -> None:
    """However a file is named, its place is what the repository says."""
    configs = repository / "configs"
    edit(configs / "one.yaml", "version: 1.0.0", "version: 1.0.1")
    found = diff("--against", "HEAD", "--fail-on", "any", name.format(configs=configs), cwd=configs)
    assert (found.code, found.found) == (0, [])


def test_odd_file_names_are_followed(repository: Path) -> None:
    """Spaces, quotes, line ends and what looks like an option or a glob are only names."""
    names = ["a b.yaml", "-x.yaml", "q'\".yaml", "näh.yaml", "new\nline.yaml", "[o]ne.yaml", ":(top)x.yaml"]
    for number, name in enumerate(names):
        (repository / "configs" / name).write_text(SCHEMA.replace("NAME", f"n{number}"), encoding="utf-8")
    commit(repository)
    git("branch", "--force", "main", cwd=repository)
    for name in names:
        edit(repository / "configs" / name, "num_examples: 100", "num_examples: 1")
    result = diff("--against", "main", "configs", cwd=repository)
    assert {file for rule, _, file in result.found if rule == "LG324"} == {f"configs/{name}" for name in names}
    assert diff("--against", "main", "configs/[o]ne.yaml", cwd=repository).found[0][2] == "configs/[o]ne.yaml"
    (repository / "configs" / "-x.yaml").unlink()
    assert ("LG340", "error", "configs/-x.yaml") in diff("--against", "main", cwd=repository).found


def test_a_file_of_another_ending_is_compared_when_it_is_named(repository: Path) -> None:
    """A schema need not end in .yaml where it is named outright."""
    for name in ("schema.txt", "schema"):
        (repository / name).write_text(SCHEMA, encoding="utf-8")
    commit(repository)
    git("branch", "--force", "main", cwd=repository)
    for name in ("schema.txt", "schema"):
        edit(repository / name, "num_classes: 3, class_names: [ant, bee, cow]", "num_classes: 2")
        assert diff("--against", "main", name, cwd=repository).code == 1


def test_an_unreadable_earlier_file_is_work_not_done(repository: Path) -> None:
    """A schema of another format at the base cannot be compared: exit 2, with the place and the revision."""
    edit(repository / "configs" / "one.yaml", "format: 1", "format: 99")
    commit(repository)
    git("branch", "--force", "main", cwd=repository)
    edit(repository / "configs" / "one.yaml", "format: 99", "format: 1")
    edit(repository / "configs" / "two.yaml", "num_examples: 100", "num_examples: 1")
    result = diff("--against", "main", cwd=repository)
    assert result.code == 2
    assert json.loads(result.out)["complete"] is False
    assert [rule for rule, _, _ in result.found] == ["LG343", "LG324", "LG350"]
    message = next(d["message"] for d in json.loads(result.out)["diagnostics"] if d["rule"] == "LG343")
    assert "the earlier file at main (" in message
    assert "configs/one.yaml:1:9: LG208 unsupported-format: format 99" in message


def test_an_unsound_new_file_is_reported_with_its_own_faults(repository: Path) -> None:
    """What lint says of the new file is reported, and the others are compared all the same: exit 2."""
    edit(repository / "configs" / "one.yaml", "num_classes: 3", "num_classes: 4")
    edit(repository / "configs" / "two.yaml", "num_examples: 100", "num_examples: 1")
    result = diff("--against", "main", cwd=repository)
    assert result.code == 2
    assert {rule for rule, _, _ in result.found} == {"LG201", "LG324", "LG350"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--against", "nowhere"], "no branch, tag or commit 'nowhere' exists here"),
        (["--against", "--output=/tmp/x"], "is not a git revision; name a branch, tag or commit"),
        (["--against", ""], "it is empty; leave it out"),
        (["--against", "main..work"], "'main..work' exists here"),
        (["--against", "main; touch pwned"], "'main; touch pwned' exists here"),
        (["--against", "$(touch pwned)"], "exists here"),
        (["--against", "main:configs/one.yaml"], "exists here"),
        (["--against", "x\x1b[31m"], r"'x\\x1b[31m' exists here"),
        (["--against", "main", "gone.yaml"], "gone.yaml is not a schema file, neither here nor at main ("),
        (["--against", "main", "/"], "is not in the git repository"),
        (["--exact", "configs", "configs"], "--exact goes with --against REF"),
        (["configs"], "name OLD and NEW, or a git revision"),
        (["configs", "nowhere"], "there is no file or folder nowhere"),
        (["configs", "configs/one.yaml"], "are not both files or both folders"),
        (["--format", "yaml", "configs", "configs"], "'yaml' is not one of"),
        (["--fail-on", "nothing", "configs", "configs"], "'nothing' is not one of"),
    ],
)
def test_what_cannot_be_done_ends_with_2(repository: Path, arguments: list[str], said: str) -> None:
    """A wrong revision, name or option is one line that says what to do; nothing in it is run."""
    result = label_guard("diff", *arguments, cwd=repository)
    assert result.code == 2
    assert said in result.err
    assert result.out == ""
    assert not (repository / "pwned").exists()


def test_outside_a_repository_and_without_git(tmp_path: Path, repository: Path) -> None:
    """Both end with 2 and name the way that needs no git."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    result = label_guard("diff", "--against", "main", cwd=elsewhere, env=env)
    assert (result.code, "not in a git repository" in result.err) == (2, True)
    result = label_guard("diff", "--against", "main", cwd=repository, env={**env, "PATH": str(elsewhere)})
    assert (result.code, "git is not installed" in result.err) == (2, True)
    assert "label-guard diff OLD NEW compares two files without git" in result.err


@pytest.fixture
def shallow(repository: Path, tmp_path: Path) -> Path:
    """A clone of depth 1 of ``work``, as CI makes them, three commits after the branch was cut."""
    for number in range(3):
        edit(repository / "configs" / "one.yaml", "version: 1.0." + str(number), f"version: 1.0.{number + 1}")
        commit(repository)
    git("checkout", "--quiet", "main", cwd=repository)
    edit(repository / "configs" / "two.yaml", "version: 1.0.0", "version: 1.0.1")
    commit(repository)
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--depth=1", "--branch=work", repository.as_uri(), str(clone), cwd=tmp_path)
    return clone


def _command_in(message: str) -> list[str]:
    """The git command that a message asks to run."""
    return message.split("run: git ", 1)[1].split(" (on", 1)[0].split(" and use", 1)[0].split()


def test_a_shallow_clone_is_reported_what_to_fetch_and_then_works(shallow: Path) -> None:
    """Each message holds the command that fixes it; run one after the other, they make the comparison possible."""
    result = label_guard("diff", "--against", "origin/main", cwd=shallow)
    assert result.code == 2
    assert "'origin/main' is not in this shallow clone; run: git fetch origin" in result.err
    git(*_command_in(result.err), "--depth=1", cwd=shallow)
    result = label_guard("diff", "--against", "origin/main", cwd=shallow)
    assert result.code == 2
    assert "run: git fetch --unshallow origin" in result.err
    assert "fetch-depth: 0" in result.err
    git(*_command_in(result.err), cwd=shallow)
    result = diff("--against", "origin/main", cwd=shallow)
    assert (result.code, result.found) == (0, [])


@pytest.mark.parametrize("ref", ["HEAD~1", "HEAD^", "HEAD~2"])
def test_a_revision_before_the_beginning_of_a_shallow_clone(shallow: Path, ref: str) -> None:
    """What lies before the first commit of a shallow clone is not called unknown: the message says how to fetch it."""
    result = label_guard("diff", "--against", ref, cwd=shallow)
    assert (result.code, f"does not reach back to {ref}; run: git fetch --unshallow origin" in result.err) == (2, True)
    git(*_command_in(result.err), cwd=shallow)
    assert diff("--against", ref, cwd=shallow).code == 0


def test_a_branch_without_its_remote_is_reported_with_it(shallow: Path) -> None:
    """``main`` alone is not there: the message says how to fetch it and what to call it then."""
    result = label_guard("diff", "--against", "main", cwd=shallow)
    assert "and use --against origin/main" in result.err
    sha = "0123456789abcdef0123456789abcdef01234567"
    result = label_guard("diff", "--against", sha, cwd=shallow)
    assert f"run: git fetch origin {sha} (on" in result.err


def test_unrelated_histories_need_exact(repository: Path) -> None:
    """Where there is no merge base, the message offers the revision itself."""
    git("checkout", "--quiet", "--orphan", "other", cwd=repository)
    commit(repository)
    result = label_guard("diff", "--against", "main", cwd=repository)
    assert (result.code, "--exact compares with main itself" in result.err) == (2, True)
    assert diff("--against", "main", "--exact", cwd=repository).code == 0


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    """Nothing to compare with is said, not crashed on."""
    git("init", "--quiet", cwd=tmp_path)
    assert label_guard("diff", "--against", "HEAD", cwd=tmp_path).code == 2


def test_programs_that_the_repository_names_are_not_run(repository: Path) -> None:
    """An external diff or a text conversion in the configuration of a clone is not started."""
    (repository / ".gitattributes").write_text("*.yaml diff=evil\n", encoding="utf-8")
    marker = repository / "ran"
    for key in ("diff.external", "diff.evil.textconv", "diff.evil.command"):
        git("config", key, f"touch {marker}; cat", cwd=repository)
    edit(repository / "configs" / "one.yaml", "num_examples: 100", "num_examples: 1")
    assert diff("--against", "main", cwd=repository).code == 1
    assert not marker.exists()


def test_git_is_only_asked(repository: Path) -> None:
    """Index, branches and working tree are as they were."""
    edit(repository / "configs" / "one.yaml", "num_examples: 100", "num_examples: 1")
    (repository / "configs" / "new.yaml").write_text(SCHEMA, encoding="utf-8")
    before = [git("status", "--porcelain", cwd=repository), (repository / ".git" / "index").read_bytes()]
    diff("--against", "main", cwd=repository)
    assert [git("status", "--porcelain", cwd=repository), (repository / ".git" / "index").read_bytes()] == before


Writer = Callable[[str, str], Any]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """A writer of schema files: path and name of the schema."""

    def write(path: str, name: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(SCHEMA.replace("NAME", name), encoding="utf-8")

    return write


def test_two_files_are_compared_whatever_they_are_called(tmp_path: Path, write: Writer) -> None:
    """OLD and NEW are the pair; their file names are not a change."""
    write("old.yaml", "a")
    write("new.yaml", "a")
    assert diff("old.yaml", "new.yaml", cwd=tmp_path).found == []
    write("new.yaml", "b")
    assert [rule for rule, _, _ in diff("old.yaml", "new.yaml", cwd=tmp_path).found] == ["LG330", "LG350"]


def test_folders_are_matched_by_schema_then_by_file(tmp_path: Path, write: Writer) -> None:
    """The name of the schema pairs first, the path of the file second; the rest is removed or added."""
    for path, name in (("old/a.yaml", "a"), ("old/b.yaml", "b"), ("old/sub/c.yaml", "c"), ("old/gone.yaml", "gone")):
        write(path, name)
    for path, name in (("new/x.yaml", "a"), ("new/b.yaml", "renamed"), ("new/sub/c.yaml", "c"), ("new/d.yaml", "d")):
        write(path, name)
    result = diff("old", "new", cwd=tmp_path)
    assert result.code == 1
    assert sorted(result.found) == [
        ("LG330", "error", "new/b.yaml"),
        ("LG340", "error", "old/gone.yaml"),
        ("LG341", "note", "new/d.yaml"),
        ("LG350", "error", "new/b.yaml"),
    ]


def test_an_unreadable_old_file_ends_with_2(tmp_path: Path, write: Writer) -> None:
    """Nothing was compared, and the report says why."""
    write("new.yaml", "a")
    (tmp_path / "old.yaml").write_text("format: [", encoding="utf-8")
    result = diff("old.yaml", "new.yaml", cwd=tmp_path)
    assert (result.code, [rule for rule, _, _ in result.found]) == (2, ["LG343"])


@pytest.mark.parametrize("style", ["text", "json", "github", "sarif", "junit", "markdown"])
def test_every_format_reports_a_diff(repository: Path, style: str) -> None:
    """The command renders what it found in each format, with the same exit code."""
    edit(repository / "configs" / "one.yaml", "bee", "wasp")
    result = label_guard("diff", "--against", "main", "--format", style, cwd=repository)
    assert result.code == 1
    assert "LG307" in result.out
    assert "wasp" in result.out
    assert result.err == ""

"""The hooks as people get them: installed by pre-commit from a git repository, run on a git repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.source
SCHEMA = """\
format: 1
name: one
version: 1.0.0
labels:
  label: {kind: class_label, num_classes: 2, class_names: [ant, bee]}
splits:
  train: {num_examples: 100}
"""


def offline(home: Path) -> dict[str, str]:
    """An environment in which ``pip install`` of this project needs no index.

    What it depends on, and what builds it, is taken from the running environment instead.
    """
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PIP_"))},
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one the other way round: 0 turns the isolation off
        "PRE_COMMIT_HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "n",
        "GIT_AUTHOR_EMAIL": "e@example.com",
        "GIT_COMMITTER_NAME": "n",
        "GIT_COMMITTER_EMAIL": "e@example.com",
    }


class Repository:
    """A git repository, and the commands that are run in it."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command, and what it said."""
        return subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)

    def git(self, *arguments: str) -> str:
        """Git; it must not fail."""
        done = self.run("git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self) -> str:
        """Everything as one commit; its hash."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def hooks(self, *arguments: str) -> tuple[int, str]:
        """``pre-commit run``: its exit code and all it said."""
        done = self.run(sys.executable, "-m", "pre_commit", "run", *arguments)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """This project as a repository that hooks can be installed from."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "label_guard", folder / "label_guard", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        shutil.copy(ROOT / name, folder / name)
    repository = Repository(folder, offline(folder.parent / "pre-commit-home"))
    repository.commit()
    return repository


@pytest.fixture
def repository(tmp_path: Path, project: Repository) -> Repository:
    """A repository that uses both hooks, with one schema on ``main``."""
    repository = Repository(tmp_path / "repository", project.env)
    (repository.folder / "configs").mkdir()
    (repository.folder / "configs" / "one.yaml").write_text(SCHEMA, encoding="utf-8")
    (repository.folder / ".pre-commit-config.yaml").write_text(
        f"""\
repos:
- repo: {project.folder}
  rev: {project.git("rev-parse", "HEAD")}
  hooks:
  - id: label-guard-lint
  - id: label-guard-diff
    args: [--against, main]
""",
        encoding="utf-8",
    )
    repository.commit()
    repository.git("checkout", "--quiet", "-b", "work")
    return repository


def _edit(repository: Repository, old: str, new: str) -> None:
    file = repository.folder / "configs" / "one.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    repository.git("add", "--all")


def test_the_manifest_and_the_documented_config_are_valid(tmp_path: Path) -> None:
    """pre-commit itself accepts both."""
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    config = page.split("## pre-commit", 1)[1].split("```yaml\n", 1)[1].split("```", 1)[0]
    (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    files = {"validate-manifest": ROOT / ".pre-commit-hooks.yaml", "validate-config": tmp_path / "config.yaml"}
    for command, file in files.items():
        done = subprocess.run([sys.executable, "-m", "pre_commit", command, str(file)], check=False)
        assert done.returncode == 0


def test_the_hooks_install_and_check_what_is_committed(repository: Repository) -> None:
    """A sound schema passes, an unsound one is refused with its line, and other files are none of their business."""
    code, said = repository.hooks("--all-files", "label-guard-lint")
    assert (code, "Passed" in said) == (0, True), said
    _edit(repository, "num_classes: 2", "num_classes: 3")
    code, said = repository.hooks()
    assert code == 1
    column = SCHEMA.splitlines()[4].index("2,") + 1
    assert f"configs/one.yaml:5:{column}: LG201 class-count-mismatch: num_classes is 3 but class_names has 2" in said
    _edit(repository, "num_classes: 3", "num_classes: 2")
    (repository.folder / "other.yaml").write_text("a: [", encoding="utf-8")
    repository.git("add", "--all")
    assert repository.hooks()[0] == 0


def test_the_push_hook_refuses_an_undeclared_change(repository: Repository) -> None:
    """A permuted class list is stopped before it is pushed, until its version is a new major; so is a deletion."""
    stage = ("--hook-stage", "pre-push", "label-guard-diff")
    assert repository.hooks(*stage)[0] == 0
    _edit(repository, "[ant, bee]", "[bee, ant]")
    code, said = repository.hooks(*stage)
    assert code == 1
    assert "LG306 class-reordered" in said
    _edit(repository, "version: 1.0.0", "version: 2.0.0")
    assert repository.hooks(*stage)[0] == 0
    (repository.folder / "configs" / "one.yaml").unlink()
    repository.git("add", "--all")
    code, said = repository.hooks(*stage)
    assert (code, "LG340 schema-removed" in said) == (1, True)

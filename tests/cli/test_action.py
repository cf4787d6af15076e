"""The GitHub Action and the workflows: valid for independent schemas, and their steps run unchanged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
SCHEMA = """\
format: 1
name: NAME
version: 1.0.0
labels:
  label: {kind: class_label, num_classes: 2, class_names: [ant, bee]}
splits:
  train: {num_examples: 100}
"""


def is_valid(schema: str, file: Path) -> bool:
    """Whether check-jsonschema accepts the file by a schema that it carries."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_action_and_the_workflow_are_valid() -> None:
    """Both pass the schemas that check-jsonschema carries for them."""
    assert is_valid("vendor.github-actions", ROOT / "action.yml")
    assert is_valid("vendor.github-workflows", ROOT / ".github" / "workflows" / "ci.yml")


def test_the_validator_refuses_what_is_none(tmp_path: Path) -> None:
    """The schemas in use are real."""
    (tmp_path / "action.yml").write_text("name: x\nruns: {using: nothing}\n", encoding="utf-8")
    assert not is_valid("vendor.github-actions", tmp_path / "action.yml")


@pytest.mark.parametrize(("title", "schema"), [("GitHub", "vendor.github-workflows"), ("GitLab", "vendor.gitlab-ci")])
def test_what_the_documentation_offers_to_copy_is_valid(tmp_path: Path, title: str, schema: str) -> None:
    """The workflows of docs/ci.md are files that GitHub and GitLab accept."""
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    section = page.split(f"## {title}", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"```yaml\n(.*?)```", section, flags=re.DOTALL)
    found += re.findall(
        r"```yaml\n(.*?)```", page.split("## An audit in CI", 1)[1].split("\n## ", 1)[0], flags=re.DOTALL
    )
    found = [text for text in found if ("jobs:" in text) == (title == "GitHub")]
    assert len(found) > 1
    for text in found:
        (tmp_path / "file.yml").write_text(text, encoding="utf-8")
        assert is_valid(schema, tmp_path / "file.yml"), text


def test_inputs_reach_scripts_through_the_environment_only() -> None:
    """No expression is in a script, where its text would be run."""
    assert all("${{" not in step["run"] for step in STEPS)


def offline() -> dict[str, str]:
    """An environment in which ``pip install`` of this project needs no index."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PIP_"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one the other way round: 0 turns the isolation off
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a runner on which the install step of the action has run."""
    env = {**offline(), "RUNNER_TEMP": str(tmp_path_factory.mktemp("runner"))}
    done = run(STEPS[0], ROOT, {**env, "ACTION_PATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    # Offline, what the package depends on comes from here; -I leaves PYTHONPATH out.
    [site] = Path(env["RUNNER_TEMP"]).glob("label-guard/lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"], encoding="utf-8")
    return env


def run(step: dict[str, Any], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A step as GitHub runs it under ``shell: bash``."""
    script = Path(env["RUNNER_TEMP"]) / "step.sh"
    script.write_text(step["run"], encoding="utf-8")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two schemas, one of them in a folder with a space, on ``main``."""
    for place, name in (("configs", "one"), ("more configs", "two")):
        (tmp_path / place).mkdir()
        (tmp_path / place / f"{name}.yaml").write_text(SCHEMA.replace("NAME", name), encoding="utf-8")
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.com")
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "schemas"]):
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, env=offline(), check=True)
    return tmp_path


def check(runner: dict[str, str], folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The second step, with its inputs as the environment that action.yml makes of them."""
    step = STEPS[1]
    assert set(inputs) <= set(step["env"])
    defaults = {"PATHS": "", "AGAINST": "", "FAIL_ON": ACTION["inputs"]["fail-on"]["default"], "SARIF": "",
                "AUDIT": "", "AUDIT_OPTIONS": "", "REPORTS": ""}  # fmt: skip
    assert set(defaults) == set(step["env"])
    return run(step, folder, {**runner, **defaults, **inputs})


def test_a_sound_tree_passes(runner: dict[str, str], repository: Path) -> None:
    """Several paths, one with a space, are linted and compared."""
    done = check(runner, repository, PATHS="configs\nmore configs\n", AGAINST="main")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "label-guard lint: 2 files checked, nothing found\nlabel-guard diff: 2 files checked, nothing found\n"
    )


def test_findings_are_annotations_and_both_commands_run(runner: dict[str, str], repository: Path) -> None:
    """An unsound schema does not hide a breaking change of another; the worst exit code wins."""
    one, two = repository / "configs" / "one.yaml", repository / "more configs" / "two.yaml"
    one.write_text(one.read_text(encoding="utf-8").replace("[ant, bee]", "[bee, ant]"), encoding="utf-8")
    done = check(runner, repository, PATHS="configs\nmore configs", AGAINST="main")
    assert done.returncode == 1
    assert "::error title=LG306 class-reordered,file=configs/one.yaml,line=5,col=" in done.stdout
    two.write_text(two.read_text(encoding="utf-8").replace("num_classes: 2", "num_classes: 3"), encoding="utf-8")
    done = check(runner, repository, PATHS="configs\nmore configs", AGAINST="main")
    assert done.returncode == 2
    assert "title=LG201 class-count-mismatch,file=more configs/two.yaml" in done.stdout
    assert "LG306" in done.stdout


def test_without_paths_the_configured_ones_are_checked(runner: dict[str, str], repository: Path) -> None:
    """Neither paths nor a revision: lint of configs, and no diff."""
    done = check(runner, repository)
    assert (done.returncode, done.stdout) == (0, "label-guard lint: 1 file checked, nothing found\n")


def test_fail_on_is_handed_on(runner: dict[str, str], repository: Path) -> None:
    """A declared breaking change fails where the caller says so."""
    one = repository / "configs" / "one.yaml"
    text = one.read_text(encoding="utf-8").replace("bee]", "wasp]").replace("1.0.0", "2.0.0")
    one.write_text(text, encoding="utf-8")
    assert check(runner, repository, AGAINST="main").returncode == 0
    assert check(runner, repository, AGAINST="main", FAIL_ON="breaking").returncode == 1
    assert check(runner, repository, AGAINST="main", FAIL_ON="never").returncode == 2


def test_sarif_is_written_to_the_folder(runner: dict[str, str], repository: Path, tmp_path: Path) -> None:
    """Both reports lie in the folder, findings or not."""
    done = check(runner, repository, AGAINST="main", SARIF=str(tmp_path / "out put"))
    assert done.returncode == 0, done.stderr
    for name in ("lint", "diff"):
        report = json.loads((tmp_path / "out put" / f"{name}.sarif").read_text(encoding="utf-8"))
        assert report["runs"][0]["automationDetails"]["id"] == f"label-guard/{name}/"


def test_a_revision_that_is_not_there_fails_without_an_empty_report(
    runner: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    """The message says what to fetch, and no broken SARIF is left to upload."""
    done = check(runner, repository, AGAINST="origin/main", SARIF=str(tmp_path / "sarif"))
    assert done.returncode == 2
    assert "'origin/main' exists here" in done.stderr
    assert [file.name for file in (tmp_path / "sarif").iterdir()] == ["lint.sarif"]


@pytest.mark.parametrize("hostile", ["$(touch pwned) `touch pwned`; touch pwned", "--format=json"])
def test_inputs_are_never_run(runner: dict[str, str], repository: Path, hostile: str) -> None:
    """Shell syntax and options in an input are names that do not exist."""
    for name in ("PATHS", "AGAINST", "FAIL_ON"):
        inputs = {"AGAINST": "main", name: hostile}
        assert check(runner, repository, **inputs).returncode == 2
    assert not (repository / "pwned").exists()


def test_no_file_of_the_checkout_is_imported(runner: dict[str, str], tmp_path: Path) -> None:
    """Every Python of the action ignores the working folder, though PYTHONPATH names it too."""
    for name in ("venv.py", "pip/__main__.py", "label_guard/__main__.py", "sitecustomize.py"):
        hostile = tmp_path / "checkout" / name
        hostile.parent.mkdir(parents=True, exist_ok=True)
        hostile.write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n", encoding="utf-8")
        (hostile.parent / "__init__.py").touch()
    env = {
        **runner,
        "PYTHONPATH": ".",
        "ACTION_PATH": str(tmp_path / "nothing"),
        "PATHS": "",
        "AGAINST": "",
        "SARIF": "",
    }
    for step in STEPS:
        run(step, tmp_path / "checkout", {**env, "FAIL_ON": "undeclared"})
    assert not (tmp_path / "ran").exists()


def test_an_audit_annotates_and_leaves_its_reports(runner: dict[str, str], repository: Path, tmp_path: Path) -> None:
    """The action audits data: findings on the line of the label, a summary for the run, and the reports as files."""
    (repository / "train.csv").write_text("label\n0\n1\n7\n", encoding="utf-8")
    summary = tmp_path / "summary.md"
    done = check(
        {**runner, "GITHUB_STEP_SUMMARY": str(summary)}, repository, AUDIT="configs/one.yaml\n",
        AUDIT_OPTIONS="--split=train\n--source=csv:train.csv\n", REPORTS="out",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert (
        "::error title=LG101 label-out-of-range,file=configs/one.yaml,line=5::one/train: label: 1 of 3" in done.stdout
    )
    assert sorted(path.name for path in (repository / "out").iterdir()) == [
        "one.html", "one.json", "one.md", "one.sarif"
    ]  # fmt: skip
    assert "LG101" in summary.read_text(encoding="utf-8")


def test_reports_of_schemas_of_one_name_do_not_replace_each_other(runner: dict[str, str], repository: Path) -> None:
    """Of two schemas of one file name the second's reports are not kept, which is exit 2; both are annotated."""
    (repository / "train.csv").write_text("label\n0\n1\n7\n", encoding="utf-8")
    (repository / "more configs" / "two.yaml").rename(repository / "more configs" / "one.yaml")
    options = "--split=train\n--source=csv:train.csv\n"
    audit = "configs/one.yaml\nmore configs/one.yaml"
    done = check(runner, repository, AUDIT=audit, AUDIT_OPTIONS=options, REPORTS="out")
    assert done.returncode == 2
    assert "rename it: more configs/one.yaml" in done.stderr
    assert done.stdout.count("::error title=LG101") == 2
    assert json.loads((repository / "out" / "one.json").read_text(encoding="utf-8"))["dataset"] == "one"


def test_an_audit_of_several_schemas_reports_each(runner: dict[str, str], repository: Path) -> None:
    """One whose file is not there does not hide the next."""
    (repository / "train.csv").write_text("label\n0\n1\n7\n", encoding="utf-8")
    options = "--split=train\n--source=csv:train.csv\n"
    audit = "gone.yaml\nconfigs/one.yaml\nmore configs/two.yaml"
    done = check(runner, repository, AUDIT=audit, AUDIT_OPTIONS=options, REPORTS="out")
    assert done.returncode == 2
    assert "gone.yaml" in done.stderr
    assert done.stdout.count("::error title=LG101") == 2
    assert len(list((repository / "out").iterdir())) == 8


def test_an_audit_that_cannot_be_done_fails(runner: dict[str, str], repository: Path) -> None:
    """Data that are not there are exit 2, whatever the schemas are."""
    done = check(runner, repository, AUDIT="configs/one.yaml", AUDIT_OPTIONS="--source=csv:gone.csv\n--split=train")
    assert done.returncode == 2
    assert "gone.csv" in done.stderr


@pytest.mark.parametrize("schema", ["configs", "-one.yaml", "$(touch ran).yaml"])
def test_audits_of_folders_and_odd_names_annotate_too(runner: dict[str, str], repository: Path, schema: str) -> None:
    """Each schema of a folder, and a name that looks like an option or a command, has its annotations and reports."""
    (repository / "train.csv").write_text("label\n0\n1\n7\n", encoding="utf-8")
    if schema != "configs":
        (repository / "configs" / "one.yaml").rename(repository / schema)
    options = "--split=train\n--source=csv:train.csv\n"
    done = check(runner, repository, PATHS="more configs", AUDIT=schema, AUDIT_OPTIONS=options, REPORTS="-out")
    assert done.returncode == 1, done.stderr
    assert "::error title=LG101" in done.stdout
    assert "invalid option" not in done.stderr
    assert len(list((repository / "-out").iterdir())) == 4
    assert not (repository / "ran").exists()


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_an_option_that_does_no_audit_fails(runner: dict[str, str], repository: Path, option: str) -> None:
    """Where no report was written nothing was audited, whatever the command's exit code."""
    assert check(runner, repository, AUDIT="configs/one.yaml", AUDIT_OPTIONS=option).returncode == 2

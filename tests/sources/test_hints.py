"""No message names a scheme, an option or a command that does not exist."""

import re
from pathlib import Path

import click
import pytest

import label_guard
from label_guard.cli import app
from label_guard.errors import SourceError
from label_guard.sources.csv import csv_format
from label_guard.sources.open import open_source
from label_guard.sources.raw_numbers import raw_format
from label_guard.sources.schemes import NAMES, SCHEMES
from label_guard.sources.uris import full_uri, guess_uri, parse_uri

PACKAGE = Path(label_guard.__file__).parent
DOCS = PACKAGE.parent / "docs"
# A scheme as docs and messages write it: in back quotes, or at the start of a quoted URI.
_SCHEME = re.compile(r"`([a-z_]+):(?:[A-Z]|`)|\b([a-z_]+):(?=FOLDER|GLOB|FILE\b|MODULE)")
_NOT_SCHEMES = {
    "emit", "dtype", "shape", "kind", "ignore", "label", "labels", "unlabeled", "source", "format", "where", "data",
}  # fmt: skip


TRIED = (
    "a.csv a.tsv a.csv.gz a.jsonl a.json a.npy a.npz a.parquet a.arrow a.tar a.tgz a.bin a.tfrecord-00000-of-00002 "
    "a-train.array_record-00000-of-00001 a.mat a.h5 a.txt a.xlsx a x:y cvs:a a.csv?b=c"
)


@pytest.mark.parametrize("name", TRIED.split())
def test_every_hint_of_a_source_is_a_source(name: str) -> None:
    """Whatever path is tried, a scheme and option that a message proposes can be parsed."""
    try:
        parse_uri(full_uri(name))
        proposed = guess_uri(name)
        if proposed is not None:
            parse_uri(proposed)
    except SourceError as error:
        for hint in re.findall(r"did you mean '([^']+)'|use ([a-z]+:\S+)", str(error)):
            found = next(filter(None, hint))
            assert found in NAMES or parse_uri(found)


def test_every_suffix_and_option_is_of_its_scheme() -> None:
    """A suffix leads to one scheme, and an option that is not of a scheme is refused by name."""
    suffixes = [suffix for scheme in SCHEMES.values() for suffix in scheme.suffixes]
    assert len(suffixes) == len(set(suffixes))
    for name, scheme in SCHEMES.items():
        for suffix in scheme.suffixes:
            assert full_uri(f"a.{suffix}").startswith(f"{name}:")
        with pytest.raises(SourceError, match="unknown option 'nothing'"):
            parse_uri(f"{name}:a?nothing=1")


@pytest.mark.parametrize("text", sorted(re.findall(r"add (\?\S+?)[,;\s]", (PACKAGE / "sources/csv.py").read_text())))
def test_every_option_that_the_csv_source_proposes(text: str) -> None:
    """An option in a message is an option of the scheme."""
    name = text.removeprefix("?").partition("=")[0].strip("{}")
    assert name in (*SCHEMES["csv"].options, "option")


def test_options_are_checked_by_their_scheme() -> None:
    """Each option of the registry is one that its format reads."""
    assert csv_format({"delimiter": "tab", "header": "none", "encoding": "UTF-8"}).delimiter == "\t"
    assert raw_format({"dtype": "uint16", "shape": "2,3", "offset": "4"}).shape == (2, 3)


@pytest.mark.source
def test_schemes_in_docs_and_code_exist() -> None:
    """Every scheme that a page or a message names is in the registry."""
    named: set[str] = set()
    for path in [*DOCS.glob("*.md"), *PACKAGE.rglob("*.py")]:
        named |= {a or b for a, b in _SCHEME.findall(path.read_text())}
    assert named - _NOT_SCHEMES - set(NAMES) == set()


@pytest.mark.source
def test_commands_in_docs_and_code_exist() -> None:
    """Every ``label-guard COMMAND`` of a page or a message is a command."""
    commands = set(app.group.list_commands(click.Context(app.group)))
    texts = [path.read_text() for path in [*DOCS.glob("*.md"), *PACKAGE.rglob("*.py")]]
    found = [name for text in texts for name in re.findall(r"(?:`|: )label-guard ([a-z]+)", text)]
    assert set(found) <= commands


def test_a_source_says_what_it_is_when_nothing_fits(tmp_path: Path) -> None:
    """The list of schemes in the last message is that of the registry."""
    (tmp_path / "unlike").write_bytes(b"\x80\x81")
    with pytest.raises(SourceError) as error:
        open_source(f"{tmp_path}/unlike", labels=["label"])
    assert str(error.value).endswith(", ".join(NAMES))


# Options of git, gh, pre-commit, sbatch, Beam, Dask, Ray and Spark that the code passes or a page shows.
_OF_OTHERS = {
    "--address", "--all", "--archives", "--array", "--body-file", "--check", "--dask", "--direct", "--environment",
    "--flink", "--full-tree", "--hook-type", "--ignore-submodules", "--is-shallow-repository", "--job", "--json",
    "--name-status", "--no-ext-diff", "--no-textconv", "--num", "--others", "--project", "--quiet", "--region",
    "--requirements",
    "--runtime", "--show-toplevel", "--spark", "--temp", "--unshallow", "--verify", "--wrap", "--yes",
}  # fmt: skip


def _options(command: click.Command) -> set[str]:
    """All options of a command and of those below it."""
    context = click.Context(command)
    found = {name for parameter in command.get_params(context) for name in parameter.opts}
    inner = [command.get_command(context, name) for name in command.list_commands(context)] if isinstance(
        command, click.Group
    ) else []  # fmt: skip
    return found.union(*(_options(one) for one in inner if one is not None))


@pytest.mark.source
def test_options_in_docs_and_code_exist() -> None:
    """Every ``--option`` of a page or a message is one of a command, or known to be of another tool."""
    texts = [path.read_text() for path in [*DOCS.glob("*.md"), DOCS.parent / "README.md", *PACKAGE.rglob("*.py")]]
    named = {option for text in texts for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)}
    assert named - _options(app.group) - _OF_OTHERS == set()


@pytest.mark.source
def test_public_names_in_docs_and_code_exist() -> None:
    """Every ``label_guard.name(`` that a page or a message proposes can be called."""
    texts = [path.read_text() for path in [*DOCS.glob("*.md"), DOCS.parent / "README.md", *PACKAGE.rglob("*.py")]]
    named = {name for text in texts for name in re.findall(r"(?<![\w.])label_guard\.([A-Za-z_]+)\(", text)}
    assert "check_labels" in named
    assert [name for name in named if not hasattr(label_guard, name)] == []

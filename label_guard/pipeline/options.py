"""The options of a guard: what each one means, its default, and which choices work together."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, cast, get_args

import numpy as np
from pydantic import ValidationError
from typing_extensions import Unpack

from label_guard.check.guard import Guard
from label_guard.core.documented_options import option_docs, shows_options, unknown_option
from label_guard.errors import UsageError
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.events import OnEvent
from label_guard.pipeline.masking import DEFAULT_VALID_KEY, MaskOptions, OnInvalid, Remainder
from label_guard.pipeline.record_keys import KEY
from label_guard.quarantine.options import QuarantineOptions, options_of, require_folder
from label_guard.schema.dataset import DatasetSchema, problems_of
from label_guard.schema.labels import Label
from label_guard.schema.reader import load_schema

SchemaLike = DatasetSchema | str | os.PathLike[str] | Mapping[str, Label]
DEFAULT_STOP_ABOVE = 0.05
MASK_DTYPES = ("bool", "float32", "float16", "int32", "uint8")
_Check = tuple[Callable[[Any], bool], str]  # whether a value is legal, and what is expected


class GuardOptions(TypedDict, total=False):
    """Options of ``guard_labels``, ``guard_batches`` and ``data_loader_operations``; all are optional."""

    split: str | None
    """The split whose label rules apply: a declared name, or a slice of one such as `train[:90%]`. Required where the
    schema declares several splits; None is the only declared one."""

    view: str | None
    """A view of the schema, for a guard after a map that crops, pads or re-encodes labels. None checks the labels as
    they are stored."""

    batch_size: int | None
    """Number of records of a batch, at least 1. On unbatched records the guard stacks them, in place of `.batch(N)`; on
    batches it is the size of a full batch, by default that of the first. Not on a MapDataset or in a DataLoader."""

    on_invalid: OnInvalid
    """What happens to an invalid record: `"drop"` writes it to the quarantine and takes it out of the stream; `"mask"`
    delivers it with its invalid positions replaced and False in the mask; `"raise"` raises `InvalidLabelError`;
    `"report"` only counts and logs, and delivers it as it is."""

    quarantine: QuarantineOptions | str | os.PathLike[str] | None
    """Folder (a local path or an fsspec URL) that invalid records are written to, or `QuarantineOptions`. Required by
    `on_invalid="drop"`; the other policies write there too where it is given."""

    remainder: Remainder
    """What happens to the records that do not fill the last batch: `"short"` delivers a short batch, `"drop"` leaves
    them out and counts them, `"pad"` fills the batch up with records that are False in the mask, and 0 in the
    feature that `where` names. After a Grain batch with `drop_remainder=True`, and around a PyTorch loader with
    `drop_last=True` or a tf.data dataset whose batches have a static size, the default is `"drop"`."""

    valid_key: str | None
    """Name of the validity mask, next to its label; `{label}` is replaced by the label's own name. An existing feature
    or field of that name is combined with. None adds no mask, which only `"raise"` and `"drop"` allow."""

    valid_dtype: str
    """Dtype of the validity mask: bool (what optax takes as `where=`), float32, float16, int32 or uint8."""

    stop_above: float | None
    """Share of invalid records, 0 to 1, above which the run stops with `TooManyInvalidError`; None never stops. By
    default 0.05 under `"drop"` and `"mask"`, None under the others. Needs counts: not on a MapDataset or in a
    DataLoader."""

    batched: bool | None
    """Whether the elements are batches (True) or single records (False). None finds out: from a `Batch` upstream, else
    from the first element; needed for lists, labels of free shape and batches of one record. False without
    `batch_size` yields single records again."""

    name: str | None
    """What identifies the source in the quarantine, where records of several sources share a folder. None takes the
    name or the files of a keyed source."""

    process_index: int | None
    """Index of this process in the names of quarantine files, at least 0. None takes JAX's, once
    `jax.distributed.initialize()` was called, else 0."""

    keep_key: bool
    """Whether the feature `label_guard_key`, the record's key, stays in what the guard delivers."""

    allow_schema_change: bool
    """Whether a checkpoint made under other label rules may be restored. False raises `SchemaChangedError`."""

    coordinated: bool
    """Whether hosts stop together: an error is kept for `label_guard.jax.sync_stop`, and masked batches are delivered
    until then, instead of raising inside a step. Needs a state: not on a MapDataset or in a DataLoader."""

    on_event: OnEvent | None
    """A function that is called with a dict (see `label_guard.GuardEvent`) at the first invalid record,
    when an error stops the run and when the stream ends. In Grain workers it is called there, so it must pickle."""


shows_options(GuardOptions)(GuardOptions)


def options_table() -> str:
    """A Markdown table of the options: name, default and documentation."""
    defaults = {name: f'`"{value}"`' if isinstance(value, str) else f"`{value}`" for name, value in DEFAULTS.items()}
    docs = option_docs(GuardOptions)
    rows = [f"| `{name}` | {defaults.get(name, 'by policy')} | {text} |" for name, text in docs.items()]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])


def resolve_options(schema: SchemaLike, caller: str = "guard_labels", **options: Unpack[GuardOptions]) -> GuardConfig:
    """Checks the options of a guard and fills in the defaults.

    Args:
        schema: a ``DatasetSchema``, the path of a schema file, or a mapping from label paths to label models.
        caller: name of the function that the user called, for messages.
        **options: see ``GuardOptions``.

    Raises:
        UsageError: an option is unknown, or a choice cannot work or would lose records.
        SchemaError: the schema file is invalid.
    """
    message = unknown_option(options, GuardOptions, caller)
    if message is not None:
        raise UsageError(message)
    chosen = cast("dict[str, Any]", {**DEFAULTS, **options})
    for name, value in chosen.items():
        _, is_legal, expected = _OPTIONS[name]
        if not is_legal(value):
            raise UsageError(f"{name} is {value!r}; {expected}")
    dataset, split, view = _schema_of(schema, caller), chosen["split"], chosen["view"]
    mask = MaskOptions(chosen["valid_key"], chosen["valid_dtype"], explicit="valid_key" in options)
    masked = () if mask.key is None else dataset.checked(split, view)
    guard = Guard(dataset, split, view, {path: mask.path(path) for path in masked})
    stop_above = DEFAULT_STOP_ABOVE if chosen["on_invalid"] in ("drop", "mask") else None
    quarantine = options_of(chosen["quarantine"])
    if quarantine is not None:
        require_folder(quarantine.url)
    config = GuardConfig(
        guard=guard,
        quarantine=quarantine,
        mask=mask,
        stop_above=chosen.get("stop_above", stop_above),
        source_id=chosen["name"] or "",
        schema_file=os.fspath(schema) if isinstance(schema, str | os.PathLike) else None,
        caller=caller,
        **{name: chosen[name] for name in _AS_GIVEN},
    )
    _check_combinations(config)
    return config


def _schema_of(schema: object, caller: str) -> DatasetSchema:
    """The schema, read from a file or made of label models.

    Raises:
        UsageError: it is none of the three forms that ``caller`` takes.
    """
    forms = 'the path of a schema file, a DatasetSchema, or {"label": ClassLabel(num_classes=10)}'
    if isinstance(schema, Mapping):
        labels = cast("Mapping[Any, Any]", schema)
        if labels and all(isinstance(label, Label) for label in labels.values()):
            return _unnamed_schema(labels, caller)
        hint = "; for the content of a schema file call DatasetSchema.model_validate(...) first" * ("labels" in labels)
        classes = [label.__name__ for label in labels.values() if isinstance(label, type)]
        held = f"are classes; call them: {classes[0]}(...)" if classes else f"are not label models; pass {forms}{hint}"
        raise UsageError(f"{caller} got a dict as schema whose values {held}")
    if not isinstance(schema, DatasetSchema | str | os.PathLike):
        raise UsageError(f"{caller} got {shown_type(schema)} as schema; pass {forms}")
    return load_schema(cast("Any", schema))


def _unnamed_schema(labels: Mapping[Any, Label], caller: str) -> DatasetSchema:
    """The schema of a mapping from label paths to label models.

    Raises:
        UsageError: a path is not text, or the labels contradict each other.
    """
    for path in labels:
        if not isinstance(path, str):
            raise UsageError(
                f"{caller} got {path!r} as the path of a label; a path is text: the name of a feature, names joined by "
                "'/', or '1' for the second item of a tuple"
            )
    try:
        return DatasetSchema(format=1, name="unnamed", version="0.0.0", labels=dict(labels))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem.path))}: {problem.message}" for problem in problems_of(error)]
        raise UsageError(f"{caller}: the label models contradict each other: {'; '.join(problems)}") from None


def shown_type(value: object) -> str:
    """The type of a wrong argument, for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


# A call of such a function only makes an object: nothing of its body runs.
_MAKE_AN_OBJECT = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def _takes_one(value: object) -> bool:
    """Whether a call with one argument runs ``value``; a built-in function may not say what it takes."""
    if not callable(value) or any(makes(value) or makes(type(value).__call__) for makes in _MAKE_AN_OBJECT):
        return False
    try:
        inspect.signature(value).bind({})
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def _is_text(value: object) -> bool:
    return value is None or (isinstance(value, str) and value != "")


def _is_share(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1)


def _at_least(least: int) -> _Check:
    def check(value: object) -> bool:
        return value is None or (isinstance(value, int | np.integer) and value is not True and bool(value >= least))

    return check, f"it must be an integer of at least {least}"


def _one_of(choices: tuple[str, ...]) -> _Check:
    return (lambda value: value in choices), f"choose one of {', '.join(choices)}"


_TEXT: _Check = (_is_text, "it must be a string or None")
_FLAG: _Check = (lambda value: isinstance(value, bool), "it must be True or False")
_OPTIONS: dict[str, tuple[Any, Callable[[Any], bool], str]] = {  # default, whether a value is legal, what is expected
    "split": (None, *_TEXT),
    "view": (None, *_TEXT),
    "batch_size": (None, *_at_least(1)),
    "on_invalid": ("drop", *_one_of(get_args(OnInvalid))),
    "quarantine": (
        None,
        lambda value: value is None or isinstance(value, QuarantineOptions | str | os.PathLike),
        "it must be a folder or QuarantineOptions",
    ),
    "remainder": ("short", *_one_of(get_args(Remainder))),
    "valid_key": (
        DEFAULT_VALID_KEY,
        lambda value: _is_text(value) and not set("{}") & set((value or "").replace("{label}", "")),
        "it must be a string or None, and {label} is the only placeholder",
    ),
    "valid_dtype": ("bool", *_one_of(MASK_DTYPES)),
    "stop_above": (None, _is_share, "it is a share of records, 0 to 1, or None for never"),
    "batched": (None, lambda value: value is None or isinstance(value, bool), "it must be True, False or None"),
    "name": (None, *_TEXT),
    "process_index": (None, *_at_least(0)),
    "keep_key": (False, *_FLAG),
    "allow_schema_change": (False, *_FLAG),
    "coordinated": (False, *_FLAG),
    "on_event": (
        None,
        lambda value: value is None or _takes_one(value),
        "it must be a function of one dict, or None; a call of an async function or a generator runs nothing",
    ),
}
# That of stop_above depends on on_invalid.
DEFAULTS = {name: default for name, (default, *_) in _OPTIONS.items() if name != "stop_above"}
_AS_GIVEN = (
    "on_invalid", "batch_size", "remainder", "batched", "process_index", "keep_key", "allow_schema_change",
    "coordinated", "on_event",
)  # fmt: skip


def _check_combinations(config: GuardConfig) -> None:
    if config.on_invalid == "drop" and config.quarantine is None:
        raise UsageError(
            'on_invalid="drop" takes records out of the stream and needs somewhere to keep them; pass '
            'quarantine="DIR", or use on_invalid="mask" or "raise"'
        )
    single = config.batched is False and config.batch_size is None  # each record has a mask of its own shape
    for path, found in config.converters.items() if config.on_invalid == "mask" and not single else ():
        if None in found.label.record_shape:
            raise UsageError(
                f'on_invalid="mask" must be able to fill label {path!r}, whose shape is free; declare a fixed shape '
                '(or guard a view after padding, or single records with batched=False), or use on_invalid="drop"'
            )
    if single and config.remainder != "short":
        raise UsageError(
            f"remainder={config.remainder!r} is for stages that build batches; with batched=False and without "
            "batch_size= it has nothing to act on"
        )
    _check_mask(config)


def _check_mask(config: GuardConfig) -> None:
    if config.mask.key is None and (config.mask_all or config.on_invalid == "report"):
        raise UsageError(
            'valid_key=None leaves the mask out, which only on_invalid="raise" and "drop" allow, and not with '
            'remainder="pad" or coordinated=True'
        )
    masks = config.masks
    for path, mask in masks.items():
        taken = [label for label in config.guard.labels if f"{label}/".startswith(f"{mask}/")] or [KEY] * (mask == KEY)
        if taken:
            raise UsageError(f"the mask of {path} would replace the feature {taken[0]}; choose another valid_key=")
    if len(set(masks.values())) < len(masks):
        raise UsageError(f"valid_key {config.mask.key!r} is one name for several labels; put {{label}} into it")
    if "" in masks:
        raise UsageError(
            "the label at path '' is the whole element, which has no place for a validity mask; pass "
            'on_invalid="drop" or "raise" with valid_key=None, or make it a feature in a map: {"label": array}'
        )
    in_tuples = [path for path in masks if path.rpartition("/")[2].isdigit()]
    if in_tuples and not config.mask.explicit:
        raise UsageError(
            f"label {in_tuples[0]!r} is in a tuple, where its validity mask has no name; pass valid_key= to append "
            "the mask to the tuple (or valid_key=None to leave it out under raise and drop)"
        )

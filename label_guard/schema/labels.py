"""Pydantic models of the four label kinds. No NumPy; ``label_contradictions`` holds what their fields may not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, StrictStr, ValidationInfo, model_validator

from label_guard.core import dtypes
from label_guard.core.plural import counted
from label_guard.errors import UsageError
from label_guard.schema.fields import (
    Count,
    Dtypes,
    EmitName,
    FeaturePath,
    Integer,
    Integers,
    Model,
    Names,
    NonNegative,
    Number,
    NumClasses,
    Sentinels,
    Shape,
    nan_once,
    raise_problems,
)
from label_guard.schema.label_contradictions import label_problems, number_text

Separator = Annotated[StrictStr, Field(min_length=1, max_length=8)]


class ClassIdRange(Model):
    """Raw ids ``start, start + 1, ... start + num_classes - 1``: 1-based masks and the like."""

    start: Integer = Field(description="The raw id of class 0.")


class _Label(Model):
    """Base class of the label kinds."""

    dtype: Dtypes | None = Field(
        default=None,
        description="Stored dtype: a NumPy name, a list of names, or integer, signed, unsigned, floating; string for "
        "class names in place of ids.",
    )
    shape: Shape = Field(default=(), description="Shape per record, without the class axis; null means any length.")
    emit: EmitName | None = Field(default=None, description="Dtype handed on to training; absent: as stored.")
    where: FeaturePath | None = Field(
        default=None,
        description="Path of a feature that says which records or positions count (0: not); it is broadcast from the "
        "left over the shape. Those that do not count are not checked, and False in the validity mask.",
    )

    # Stored dtypes where the schema names none.
    DEFAULT_DTYPES: ClassVar[tuple[str, ...]] = ("integer",)

    @property
    def stored_dtypes(self) -> tuple[str, ...]:
        """Names of the dtypes this label may be stored in, families expanded; ``string`` where it holds names."""
        return dtypes.expand(self.dtype or self.DEFAULT_DTYPES)

    @property
    def stores_names(self) -> bool:
        """Whether class names are stored in place of ids."""
        return self.dtype == (dtypes.STRING,)

    @property
    def emitted_dtype(self) -> str | None:
        """The dtype that is handed on; None where it is the stored one."""
        return self.emit

    @property
    def record_shape(self) -> tuple[int | None, ...]:
        """Shape of one record's stored label array, class axis included; None means any length."""
        return self.shape

    @property
    def rank(self) -> int:
        """Number of dimensions of one record's stored label array."""
        return len(self.record_shape)

    @property
    def sentinels(self) -> tuple[int | float, ...]:
        """Declared finite values that are legal but mean nothing to the loss."""
        return ()

    @property
    def has_mask(self) -> bool:
        """Whether values that the loss must skip may leave the guard, so that it always adds a validity mask."""
        return self.where is not None or bool(self.sentinels) or self.ignores_nan or self.ignores_null

    @property
    def raw_ids(self) -> Sequence[int]:
        """Stored class ids in order of the classes; none for real numbers."""
        return range(getattr(self, "num_classes", 0))

    @property
    def id_set(self) -> range | frozenset[int]:
        """Stored class ids for quick membership tests: a range, or a set that is made at each call."""
        ids = self.raw_ids
        return ids if isinstance(ids, range) else frozenset(ids)

    @property
    def ignores_nan(self) -> bool:
        """Whether NaN means "not measured"."""
        return False

    @property
    def ignores_null(self) -> bool:
        """Whether None, or an empty cell, means "not measured"."""
        return False

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> _Label:
        self.model_fields_set.add("kind")  # ClassLabel(...) needs no kind=, a schema file that is written does
        raise_problems(label_problems(cast("Label", self)), info)
        return self


class _Measured(_Label):
    """A label of numbers, any of which may be declared as not measured."""

    ignore: Sentinels = Field(
        default=(), description="Values that the loss must skip, such as -1; .nan and null mean: not measured."
    )
    on_ignore: Literal["keep", "replace"] = Field(
        default="keep",
        description="keep: the value stays; replace: a legal value is written in its place (always so where ignore "
        "holds .nan or null). The mask is False in both.",
    )

    @model_validator(mode="before")
    @classmethod
    def _replace_what_no_array_keeps(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "on_ignore" in values:
            return cast(Any, values)
        fields = cast("dict[str, Any]", values)
        ignore = fields.get("ignore")
        if isinstance(ignore, list | tuple) and any(map(_is_unmeasured, cast("list[Any]", ignore))):
            return {**fields, "on_ignore": "replace"}
        return fields

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        vars(self)["ignore"] = nan_once(self.ignore)  # pickle makes a new NaN each time

    @property
    def sentinels(self) -> tuple[int | float, ...]:
        return tuple(value for value in self.ignore if value is not None and value == value)

    @property
    def ignores_nan(self) -> bool:
        return any(value is not None and value != value for value in self.ignore)

    @property
    def ignores_null(self) -> bool:
        return None in self.ignore

    @property
    def kept_sentinels(self) -> tuple[int | float, ...]:
        """Sentinels that are still in the array when it leaves the guard."""
        return self.sentinels if self.on_ignore == "keep" else ()


def _is_unmeasured(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _ignore_text(ignore: tuple[int | float | None, ...]) -> str:
    shown = ("null" if value is None else ".nan" if value != value else str(value) for value in ignore)
    return f" or ignore {', '.join(shown)}" if ignore else ""


def _number(value: int | float) -> str:
    return number_text(value) if isinstance(value, int) else f"{value:g}"


class ClassLabel(_Label):
    """Class ids: legal iff in ``[0, num_classes)``, in ``ignore``, or the split's ``unlabeled``."""

    kind: Literal["class_label"] = Field(default="class_label", description="One class id per position of `shape`.")
    num_classes: NumClasses = Field(description="Number of classes; legal ids are 0..num_classes-1.")
    class_names: Names | None = Field(
        default=None, description="One name per class, in order of the ids; with dtype: string the legal values."
    )
    class_ids: Integers | ClassIdRange | None = Field(
        default=None, description="Raw ids in class order (gaps allowed) or {start: 1}; the guard emits dense ids."
    )
    ignore: Integers = Field(default=(), description="Sentinels that the loss must skip, such as 255 or -100.")
    on_ignore: Literal["keep", "replace"] = Field(
        default="keep",
        description="keep: the sentinel stays; replace: class 0 is written there. The mask is False in both.",
    )
    unlabeled: Integer | None = Field(default=None, description="Value that means: no label in this split.")
    on_unlabeled: Literal["keep", "replace", "skip"] | None = Field(
        default=None,
        description="What happens to unlabeled records; a training split that declares unlabeled must choose.",
    )
    separator: Separator | None = Field(
        default=None, description="What separates the ids or names of a list that is stored as one text."
    )
    unique: bool = Field(default=False, description="Ids of one record must not repeat.")
    min_length: Count | None = Field(default=None, description="Least number of ids of a ragged label.")
    max_length: Count | None = Field(default=None, description="Greatest number of ids of a ragged label.")

    @property
    def emitted_dtype(self) -> str | None:
        converted = self.stores_names or self.separator is not None or "bool" in self.stored_dtypes
        return self.emit or ("int32" if converted else None)

    @property
    def raw_ids(self) -> tuple[int, ...] | range:
        if isinstance(self.class_ids, ClassIdRange):
            return range(self.class_ids.start, self.class_ids.start + self.num_classes)
        return range(self.num_classes) if self.class_ids is None else self.class_ids

    @property
    def id_range(self) -> tuple[int, int]:
        """Range of the raw ids, found without listing them.

        Returns:
            The least and the greatest, both inclusive; ``(0, -1)`` where there is none.
        """
        ids = self.raw_ids
        if isinstance(ids, range):
            return ids.start, ids.stop - 1
        return (min(ids), max(ids)) if ids else (0, -1)

    def to_raw(self, index: int) -> int:
        """Returns the raw id of a dense index in ``[0, num_classes)``.

        Raises:
            UsageError: ``index`` is not a dense index of this label.

        >>> ClassLabel(kind="class_label", num_classes=3, class_ids=[1, 2, 90]).to_raw(2)
        90
        """
        if not 0 <= index < self.num_classes:
            raise UsageError(f"index {index} is not in [0, {self.num_classes})")
        return self.raw_ids[index]

    @property
    def remaps(self) -> bool:
        """Whether emitted ids differ from stored ids."""
        ids = self.raw_ids
        if isinstance(ids, range):
            return ids.start != 0
        return len(ids) != self.num_classes or any(raw != index for index, raw in enumerate(ids))

    @property
    def sentinels(self) -> tuple[int, ...]:
        return self.ignore if self.unlabeled is None else (*self.ignore, self.unlabeled)

    @property
    def kept_sentinels(self) -> tuple[int, ...]:
        """Sentinels that are still in the array when it leaves the guard."""
        kept = self.ignore if self.on_ignore == "keep" else ()
        return (*kept, self.unlabeled) if self.unlabeled is not None and self.keeps_unlabeled else kept

    @property
    def has_mask(self) -> bool:
        delivers_unlabeled = self.unlabeled is not None and self.on_unlabeled != "skip"
        return self.where is not None or bool(self.ignore) or delivers_unlabeled

    @property
    def keeps_unlabeled(self) -> bool:
        """Whether the unlabeled value stays in the array, as it does where ``on_unlabeled`` is not given."""
        return self.on_unlabeled in (None, "keep")

    @property
    def legal(self) -> str:
        """The legal set in words, such as ``[0, 10) or ignore 255``."""
        if self.stores_names:
            shown = ", ".join((self.class_names or ())[:4])
            text = f"class_names {{{shown}{', ...' if self.num_classes > 4 else ''}}}"
        elif isinstance(ids := self.raw_ids, range):
            text = f"[{ids.start}, {ids.stop})"
        else:
            text = f"class_ids {{{', '.join(map(str, ids[:4]))}{', ...' if len(ids) > 4 else ''}}}"
        text += _ignore_text(self.ignore)
        return text if self.unlabeled is None else f"{text} or unlabeled {self.unlabeled}"


class MultiLabel(_Measured):
    """k-hot rows over a last axis of ``num_classes``: every value 0, 1 or an ``ignore`` value."""

    kind: Literal["multi_label"] = Field(default="multi_label", description="k-hot over a last axis of num_classes.")
    num_classes: NumClasses = Field(description="Length of the class axis.")
    class_names: Names | None = Field(default=None, description="One name per class, in order of the class axis.")
    positive: Integer = Field(default=1, description="The stored value of a class that applies; 1 is emitted.")
    negative: Integer = Field(default=0, description="The stored value of a class that does not; 0 is emitted.")
    encoding: Literal["k_hot", "ids"] = Field(
        default="k_hot", description="ids: a record holds a list of class ids or names; a k-hot row is emitted."
    )
    separator: Separator | None = Field(
        default=None, description="With encoding: ids, what separates the ids or names of a list stored as one text."
    )
    columns: Annotated[tuple[FeaturePath, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="Paths of the features that hold one class each, in order of the class axis."
    )
    unique: bool = Field(default=False, description="With encoding: ids, ids of one record must not repeat.")
    min_length: Count | None = Field(default=None, description="With encoding: ids, least number of ids of a record.")
    max_length: Count | None = Field(
        default=None, description="With encoding: ids, greatest number of ids of a record."
    )
    min_positive: Count | None = Field(default=None, description="Least number of ones per row.")
    max_positive: Count | None = Field(default=None, description="Greatest number of ones per row.")

    DEFAULT_DTYPES: ClassVar[tuple[str, ...]] = ("bool", "integer", "floating")

    @model_validator(mode="before")
    @classmethod
    def _names_are_columns(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        fields = cast("dict[str, Any]", values)
        columns = fields.get("columns")
        named = not isinstance(columns, list | tuple) or fields.get("class_names") is not None
        return fields if named else {**fields, "class_names": cast("object", columns)}

    @property
    def stored_dtypes(self) -> tuple[str, ...]:
        """As of any label; with ``encoding: ids`` they are integers unless declared."""
        if self.dtype is not None:
            return dtypes.expand(self.dtype)
        if self.encoding == "ids":
            return dtypes.expand(("integer",))
        # bool holds 0 and 1 alone.
        fits = {self.positive, self.negative} == {0, 1} and not self.sentinels and not self.ignores_nan
        return dtypes.expand(self.DEFAULT_DTYPES if fits else self.DEFAULT_DTYPES[1:])

    @property
    def emitted_dtype(self) -> str | None:
        return self.emit or ("int32" if self.encoding == "ids" else None)

    @property
    def record_shape(self) -> tuple[int | None, ...]:
        return (*self.shape, None if self.encoding == "ids" else self.num_classes)

    @property
    def legal(self) -> str:
        """The legal set in words, such as ``{0, 1}``."""
        if self.encoding == "ids":
            what = "names of class_names" if self.stores_names else f"ids in [0, {self.num_classes})"
            text = f"lists of {what}"
        else:
            text = f"{{{self.negative}, {self.positive}}}{_ignore_text(self.ignore)}"
        if self.min_positive is not None or self.max_positive is not None:
            most = self.num_classes if self.max_positive is None else self.max_positive
            text += f" with {self.min_positive or 0} to {counted(most, 'one')}"
        return text


class SoftLabel(_Label):
    """Probabilities over a last axis of ``num_classes``: finite, >= 0, summing to 1 within ``tolerance``."""

    kind: Literal["soft_label"] = Field(
        default="soft_label", description="Probabilities over a last axis of num_classes."
    )
    num_classes: NumClasses = Field(description="Length of the class axis.")
    class_names: Names | None = Field(default=None, description="One name per class, in order of the class axis.")
    tolerance: NonNegative = Field(default=1e-3, description="Greatest distance of a row's sum from 1, below 1.")
    one_hot: bool = Field(default=False, description="Every row must be exactly one 1 and zeros.")

    DEFAULT_DTYPES: ClassVar[tuple[str, ...]] = ("floating",)

    @property
    def record_shape(self) -> tuple[int | None, ...]:
        return (*self.shape, self.num_classes)

    @property
    def legal(self) -> str:
        """The legal set in words."""
        if self.one_hot:
            return f"one-hot rows of {self.num_classes}"
        return f"rows of {counted(self.num_classes, 'value')} >= 0 summing to 1 +- {self.tolerance:g}"


class RealLabel(_Measured):
    """Regression targets: finite, within optional ``minimum`` and ``maximum``, both inclusive."""

    kind: Literal["real_label"] = Field(default="real_label", description="Finite numbers, such as regression targets.")
    minimum: Number | None = Field(default=None, description="Least legal value, inclusive.")
    maximum: Number | None = Field(default=None, description="Greatest legal value, inclusive.")

    DEFAULT_DTYPES: ClassVar[tuple[str, ...]] = ("floating",)

    @property
    def legal(self) -> str:
        """The legal set in words, such as ``finite [0, 5]``."""
        text = "finite"
        if self.minimum is not None or self.maximum is not None:
            low = "-inf" if self.minimum is None else _number(self.minimum)
            high = "inf" if self.maximum is None else _number(self.maximum)
            text += f" [{low}, {high}]"
        return text + _ignore_text(self.ignore)


Label = ClassLabel | MultiLabel | SoftLabel | RealLabel
AnyLabel = Annotated[Label, Field(discriminator="kind")]
KINDS: dict[str, type[_Label]] = {
    "class_label": ClassLabel, "multi_label": MultiLabel, "soft_label": SoftLabel, "real_label": RealLabel,
}  # fmt: skip

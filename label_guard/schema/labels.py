"""Pydantic models of the four label kinds and the contradictions within one label. Pure data, no NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictInt, ValidationInfo, model_validator

from label_guard.core import dtypes
from label_guard.errors import UsageError
from label_guard.schema.fields import (
    Count,
    Dtypes,
    EmitName,
    Integers,
    Model,
    Names,
    NonNegative,
    Number,
    NumClasses,
    Problem,
    Shape,
    lenient,
    refuse,
)

_INT32 = dtypes.integer_range("int32")


class ClassIdRange(Model):
    """Raw ids ``start, start + 1, ... start + num_classes - 1``: 1-based masks and the like."""

    start: StrictInt = Field(description="The raw id of class 0.")


class _Label(Model):
    """What the label kinds share."""

    dtype: Dtypes | None = Field(
        default=None, description="Stored dtype: a NumPy name, a list of names, or integer, signed, unsigned, floating."
    )
    shape: Shape = Field(
        default=(), description="Shape per record, without the class axis; null stands for any length."
    )
    emit: EmitName | None = Field(default=None, description="Dtype handed on to training; absent: as stored.")

    # Stored dtypes where the schema names none.
    DEFAULT_DTYPES: ClassVar[tuple[str, ...]] = ("integer",)

    @property
    def stored_dtypes(self) -> tuple[str, ...]:
        """NumPy names of the dtypes this label may be stored in, families expanded."""
        return dtypes.expand(self.dtype or self.DEFAULT_DTYPES)

    @property
    def record_shape(self) -> tuple[int | None, ...]:
        """Shape of one record's label array, class axis included; None stands for any length."""
        return self.shape

    @property
    def rank(self) -> int:
        """Number of dimensions of one record's label array."""
        return len(self.record_shape)

    @property
    def sentinels(self) -> tuple[int, ...]:
        """Declared values that are legal but mean nothing to the loss."""
        return ()

    def problems(self) -> Iterator[Problem]:
        """The contradictions between the fields of this label."""
        if self.emit is not None:
            for name in self._stored_for_emit():
                if not dtypes.holds(self.emit, name) and not self._values_fit(self.emit):
                    yield Problem(
                        "LG205",
                        ("emit",),
                        f"emit {self.emit} cannot hold every legal value stored as {name}",
                        "emit a wider dtype",
                    )
                    return

    def _stored_for_emit(self) -> tuple[str, ...]:
        return self.stored_dtypes

    def _values_fit(self, target: str) -> bool:
        """Whether the legal values fit ``target`` although the stored dtype does not."""
        del target  # judged by the kinds that know their values
        return False

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> _Label:
        self.model_fields_set.add("kind")  # ClassLabel(...) needs no kind=, a schema file that is written does
        problems = [] if lenient(info) else list(self.problems())
        if problems:
            refuse(problems)
        return self


class ClassLabel(_Label):
    """Class ids: legal iff in ``[0, num_classes)``, in ``ignore``, or the split's ``unlabeled``."""

    kind: Literal["class_label"] = Field(default="class_label", description="One class id per place of `shape`.")
    num_classes: NumClasses = Field(description="Number of classes; legal ids are 0..num_classes-1.")
    class_names: Names | None = Field(default=None, description="One name per class, in order of the ids.")
    class_ids: Integers | ClassIdRange | None = Field(
        default=None, description="Raw ids in class order (gaps allowed) or {start: 1}; the guard emits dense ids."
    )
    ignore: Integers = Field(default=(), description="Sentinels that the loss must skip, such as 255 or -100.")
    on_ignore: Literal["keep", "replace"] = Field(
        default="keep",
        description="keep: the sentinel stays; replace: class 0 stands there. The mask is False in both.",
    )
    unlabeled: StrictInt | None = Field(default=None, description="Value that means: no label in this split.")
    on_unlabeled: Literal["keep", "replace", "skip"] | None = Field(
        default=None,
        description="What becomes of unlabeled records; a training split that declares unlabeled must choose.",
    )
    unique: bool = Field(default=False, description="Ids of one record must not repeat.")
    min_length: Count | None = Field(default=None, description="Least number of ids of a ragged label.")
    max_length: Count | None = Field(default=None, description="Greatest number of ids of a ragged label.")

    @property
    def raw_ids(self) -> tuple[int, ...] | range:
        """Raw ids in class order: position is the dense index."""
        if isinstance(self.class_ids, ClassIdRange):
            return range(self.class_ids.start, self.class_ids.start + self.num_classes)
        return range(self.num_classes) if self.class_ids is None else self.class_ids

    def to_raw(self, index: int) -> int:
        """The raw id of a dense index in ``[0, num_classes)``.

        Raises:
            UsageError: ``index`` is no dense index of this label.

        >>> ClassLabel(kind="class_label", num_classes=3, class_ids=[1, 2, 90]).to_raw(2)
        90
        """
        if not 0 <= index < self.num_classes:
            raise UsageError(f"index {index} is not in [0, {self.num_classes})")
        return self.raw_ids[index]

    @property
    def remaps(self) -> bool:
        """Whether emitted ids differ from stored ids."""
        return self.class_ids is not None and tuple(self.raw_ids) != tuple(range(self.num_classes))

    @property
    def sentinels(self) -> tuple[int, ...]:
        return self.ignore if self.unlabeled is None else (*self.ignore, self.unlabeled)

    @property
    def kept_sentinels(self) -> tuple[int, ...]:
        """Sentinels that are still in the array when it leaves the guard."""
        kept = self.ignore if self.on_ignore == "keep" else ()
        return (*kept, self.unlabeled) if self.unlabeled is not None and self.keeps_unlabeled else kept

    @property
    def keeps_unlabeled(self) -> bool:
        """Whether the unlabeled value stays in the array; the default where the split need not choose."""
        return self.on_unlabeled in (None, "keep")

    @property
    def legal(self) -> str:
        """The legal set in words, such as ``[0, 10) or ignore 255``."""
        if self.class_ids is None:
            text = f"[0, {self.num_classes})"
        elif isinstance(self.class_ids, ClassIdRange):
            text = f"[{self.class_ids.start}, {self.class_ids.start + self.num_classes})"
        else:
            shown = ", ".join(map(str, self.class_ids[:4]))
            text = f"class_ids {{{shown}{', ...' if len(self.class_ids) > 4 else ''}}}"
        if self.ignore:
            text += f" or ignore {', '.join(map(str, self.ignore))}"
        return text if self.unlabeled is None else f"{text} or unlabeled {self.unlabeled}"

    def problems(self) -> Iterator[Problem]:
        yield from self._count_problems()
        yield from self._sentinel_problems()
        yield from self._dtype_problems()
        yield from self._length_problems()
        yield from super().problems()

    def _count_problems(self) -> Iterator[Problem]:
        if self.class_names is not None:
            yield from _name_problems(self.class_names, self.num_classes)
        if isinstance(self.class_ids, tuple):
            if len(self.class_ids) != self.num_classes:
                yield Problem(
                    "LG201",
                    ("class_ids",),
                    f"num_classes is {self.num_classes} but class_ids has {len(self.class_ids)}",
                    f"set num_classes: {len(self.class_ids)} or mend class_ids",
                )
            for raw in _repeated(self.class_ids):
                yield Problem("LG218", ("class_ids",), f"id {raw} stands twice in class_ids", "remove one")

    def _sentinel_problems(self) -> Iterator[Problem]:
        ids = set(self.raw_ids)
        for position, value in enumerate(self.ignore):
            if value in ids or (self.remaps and self.on_ignore == "keep" and 0 <= value < self.num_classes):
                yield Problem(
                    "LG204",
                    ("ignore", position),
                    f"ignore value {value} is a legal class id ({self._id_range()})",
                    "use a value outside the legal ids, or on_ignore: replace where only dense ids collide",
                )
            elif self.on_ignore == "keep" and not _INT32[0] <= value <= _INT32[1]:
                yield _truncated(("ignore", position), value)
        if self.unlabeled is None:
            return
        if self.unlabeled in ids or self.unlabeled in self.ignore:
            also = "an ignore value" if self.unlabeled in self.ignore else f"a legal class id ({self._id_range()})"
            yield Problem("LG217", ("unlabeled",), f"unlabeled value {self.unlabeled} is {also}", "use another value")
        elif self.keeps_unlabeled and not _INT32[0] <= self.unlabeled <= _INT32[1]:
            yield _truncated(("unlabeled",), self.unlabeled)

    def _id_range(self) -> str:
        return f"{min(self.raw_ids, default=0)}..{max(self.raw_ids, default=0)}"

    def _dtype_problems(self) -> Iterator[Problem]:
        named = [name for name in self.dtype or () if name not in dtypes.FAMILIES]
        for name in named:
            if name == "bool":
                yield Problem("LG203", ("dtype",), "bool is no dtype of class ids", "store integers")
                return
            low, high = dtypes.integer_range(name)
            out = [i for i in (*self.raw_ids, *self.sentinels) if not low <= i <= high]
            if out:
                yield Problem(
                    "LG203",
                    ("dtype",),
                    f"dtype {name} ({low}..{high}) cannot hold the declared id {out[0]}",
                    "declare a wider dtype",
                )
                return
        for name in named if self.emit is None else (self.emit,):
            if dtypes.is_integer(name) and not dtypes.can_index(name, self.num_classes):
                field = "dtype" if self.emit is None else "emit"
                yield Problem(
                    "LG203",
                    (field,),
                    f"{field} {name} cannot index {self.num_classes} classes in JAX: even legal labels go wrong",
                    "set emit: int32",
                )
                return

    def _length_problems(self) -> Iterator[Problem]:
        low, high = self.min_length, self.max_length
        if low is not None and high is not None and low > high:
            yield Problem("LG216", ("min_length",), f"min_length {low} is above max_length {high}", "swap them")
        if self.unique and low is not None and low > self.num_classes:
            yield Problem(
                "LG216",
                ("min_length",),
                f"{low} unique ids cannot be drawn from {self.num_classes} classes",
                "lower min_length",
            )
        if (low is not None or high is not None or self.unique) and self.rank != 1:
            yield Problem(
                "LG216",
                ("min_length" if low is not None else "max_length" if high is not None else "unique",),
                "min_length, max_length and unique need a list of ids",
                "set shape: [null]",
            )

    def _values_fit(self, target: str) -> bool:
        low, high = dtypes.integer_range(target)
        fits = low <= 0 and self.num_classes - 1 <= high
        return fits and all(low <= value <= high for value in self.kept_sentinels)


class MultiLabel(_Label):
    """k-hot rows over a last axis of ``num_classes``: every value 0, 1 or an ``ignore`` value."""

    kind: Literal["multi_label"] = Field(default="multi_label", description="k-hot over a last axis of num_classes.")
    num_classes: NumClasses = Field(description="Length of the class axis.")
    class_names: Names | None = Field(default=None, description="One name per class, in order of the class axis.")
    ignore: Integers = Field(default=(), description="Values that the loss must skip, such as -1 (CheXpert).")
    on_ignore: Literal["keep", "replace"] = Field(default="keep", description="replace: 0 stands there.")
    min_positive: Count | None = Field(default=None, description="Least number of ones per row.")
    max_positive: Count | None = Field(default=None, description="Greatest number of ones per row.")

    DEFAULT_DTYPES: ClassVar[tuple[str, ...]] = ("bool", "integer", "floating")

    @property
    def record_shape(self) -> tuple[int | None, ...]:
        return (*self.shape, self.num_classes)

    @property
    def sentinels(self) -> tuple[int, ...]:
        return self.ignore

    @property
    def legal(self) -> str:
        """The legal set in words, such as ``{0, 1}``."""
        text = "{0, 1}"
        if self.ignore:
            text += f" or ignore {', '.join(map(str, self.ignore))}"
        if self.min_positive is not None or self.max_positive is not None:
            most = self.num_classes if self.max_positive is None else self.max_positive
            text += f" with {self.min_positive or 0} to {most} ones"
        return text

    def problems(self) -> Iterator[Problem]:
        if self.class_names is not None:
            yield from _name_problems(self.class_names, self.num_classes)
        for position, value in enumerate(self.ignore):
            if value in (0, 1):
                yield Problem("LG204", ("ignore", position), f"ignore value {value} is a legal value", "use another")
            for name in self.dtype or ():
                low, high = (0, 0) if name in dtypes.FAMILIES else dtypes.integer_range(name)
                if name not in dtypes.FAMILIES and not low <= value <= high:
                    yield Problem("LG203", ("dtype",), f"dtype {name} cannot hold ignore value {value}", "widen it")
        yield from self._positive_problems()
        yield from super().problems()

    def _positive_problems(self) -> Iterator[Problem]:
        low, high = self.min_positive, self.max_positive
        if low is not None and low > (self.num_classes if high is None else high):
            limit = self.num_classes if high is None else high
            yield Problem("LG216", ("min_positive",), f"min_positive {low} is above {limit}", "lower it")

    def _values_fit(self, target: str) -> bool:
        low, high = dtypes.integer_range(target)
        kept = self.ignore if self.on_ignore == "keep" else ()
        return all(low <= value <= high for value in kept)


class SoftLabel(_Label):
    """Probabilities over a last axis of ``num_classes``: finite, >= 0, summing to 1 within ``tolerance``."""

    kind: Literal["soft_label"] = Field(
        default="soft_label", description="Probabilities over a last axis of num_classes."
    )
    num_classes: NumClasses = Field(description="Length of the class axis.")
    class_names: Names | None = Field(default=None, description="One name per class, in order of the class axis.")
    tolerance: NonNegative = Field(default=1e-3, description="Greatest distance of a row's sum from 1.")
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
        return f"rows of {self.num_classes} values >= 0 summing to 1 +- {self.tolerance:g}"

    def problems(self) -> Iterator[Problem]:
        if self.class_names is not None:
            yield from _name_problems(self.class_names, self.num_classes)
        yield from super().problems()

    def _stored_for_emit(self) -> tuple[str, ...]:
        # Rounding a probability to float32 keeps it legal; only a non-float target narrows.
        return () if self.emit in dtypes.FLOATING else self.stored_dtypes

    def _values_fit(self, target: str) -> bool:
        del target  # every dtype holds 0 and 1
        return self.one_hot


class RealLabel(_Label):
    """Regression targets: finite, within optional ``minimum`` and ``maximum``, both inclusive."""

    kind: Literal["real_label"] = Field(default="real_label", description="Finite numbers, such as regression targets.")
    minimum: Number | None = Field(default=None, description="Least legal value, inclusive.")
    maximum: Number | None = Field(default=None, description="Greatest legal value, inclusive.")

    DEFAULT_DTYPES: ClassVar[tuple[str, ...]] = ("floating",)

    @property
    def legal(self) -> str:
        """The legal set in words, such as ``finite [0, 5]``."""
        if self.minimum is None and self.maximum is None:
            return "finite"
        low = "-inf" if self.minimum is None else f"{self.minimum:g}"
        high = "inf" if self.maximum is None else f"{self.maximum:g}"
        return f"finite [{low}, {high}]"

    def problems(self) -> Iterator[Problem]:
        for field in ("minimum", "maximum"):
            value = getattr(self, field)
            if value is not None and value - value != 0:
                yield Problem("LG216", (field,), f"{field} {value} is not finite", "leave the field out")
                return
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            yield Problem("LG216", ("minimum",), f"minimum {self.minimum} is above maximum {self.maximum}", "swap them")
        yield from super().problems()

    def _stored_for_emit(self) -> tuple[str, ...]:
        return () if self.emit in dtypes.FLOATING else self.stored_dtypes


def _repeated(values: tuple[Any, ...]) -> list[Any]:
    seen: set[Any] = set()
    return [value for value in values if value in seen or seen.add(value)]


def _name_problems(names: tuple[str, ...], num_classes: int) -> Iterator[Problem]:
    if len(names) != num_classes:
        yield Problem(
            "LG201",
            ("num_classes",),
            f"num_classes is {num_classes} but class_names has {len(names)}",
            f"{'remove' if len(names) > num_classes else 'add'} {abs(len(names) - num_classes)} "
            f"or set num_classes: {len(names)}",
        )
    first: dict[str, int] = {}
    for position, name in enumerate(names):
        if name in first:
            message = f"class name {name!r} stands at {first[name]} and {position}"
            yield Problem("LG202", ("class_names", position), message, "give each class a name of its own")
        first.setdefault(name, position)


def _truncated(path: tuple[str | int, ...], value: int) -> Problem:
    return Problem(
        "LG205",
        path,
        f"kept sentinel {value} does not survive JAX's int32: it would arrive as another value",
        "replace it (on_ignore or on_unlabeled: replace) or use one within int32",
    )


Label = ClassLabel | MultiLabel | SoftLabel | RealLabel
AnyLabel = Annotated[Label, Field(discriminator="kind")]
KINDS: dict[str, type[_Label]] = {
    "class_label": ClassLabel, "multi_label": MultiLabel, "soft_label": SoftLabel, "real_label": RealLabel,
}  # fmt: skip

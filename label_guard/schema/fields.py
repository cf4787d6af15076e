"""Field types of a schema file, the base of its models, and how they report a contradiction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, NamedTuple, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError

SchemaPath = tuple[str | int, ...]  # keys and positions of lists, such as ("labels", "label", "ignore", 0)
PROBLEMS = "contradictions"  # type of the pydantic error whose ctx carries Problem values


# missing: the field is absent; rename: the key; quote, unquote, strip: the scalar; enclose: make a list of it; version:
# complete the numbers. Only these have one right answer.
FixKind = Literal["", "missing", "rename", "quote", "unquote", "strip", "enclose", "version"]


class Problem(NamedTuple):
    """Something that is wrong in a schema.

    Attributes:
        rule: code of the rule.
        path: where, relative to the model.
        message: what is wrong.
        fix: what to do, in words.
        kind: how ``lint --fix`` corrects the text at ``path``; empty where there is not one right answer.
        replacement: what it writes there, where that does not follow from the text.
    """

    rule: str
    path: SchemaPath
    message: str
    fix: str
    kind: FixKind = ""
    replacement: str = ""


def raise_problems(problems: Iterable[Problem], info: ValidationInfo) -> None:
    """Raise the problems as one pydantic error, for a validator; ``dataset.problems_of`` unfolds them.

    In a lenient validation they pass, so that a reader can gather all of a file; only its structure is checked.
    """
    found = [] if info.context and info.context.get("lenient") else list(problems)
    if found:
        text = "; ".join(f"{p.rule} {'.'.join(map(str, p.path))}: {p.message}" for p in found)
        raise PydanticCustomError(PROBLEMS, "{text}", {"text": text, "problems": found})


def fits_shape(declared: Sequence[int | None], shape: Sequence[int | None]) -> bool:
    """Whether ``shape`` is the declared one, where None is any length.

    >>> fits_shape([None, 4], (7, 4)), fits_shape([None, 4], (7,))
    (True, False)
    """
    if declared == shape:  # nearly always, and without a generator
        return True
    return len(declared) == len(shape) and all(want in (None, n) for want, n in zip(declared, shape, strict=True))


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


INT_LOW, INT_HIGH = -(2**63), 2**64 - 1  # what int64 and uint64 hold between them
_MAX_CLASSES = 2**31 - 1  # JAX indexes with int32
_MAX_RANK = 31  # NumPy's 32 dimensions, less the batch axis


def nan_once(value: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Returns ``value`` with one NaN object for all NaNs, so that equal tuples compare equal."""
    return tuple(math.nan if item is not None and item != item else item for item in value)


# YAML gives lists; only the outer sequence is lax, what it holds stays strict. The first wrong item is reported: an
# error for each of 200,000 items takes a gigabyte.
_Lax = Field(strict=False, fail_fast=True)
Integer = Annotated[StrictInt, Field(ge=INT_LOW, le=INT_HIGH)]
Integers = Annotated[tuple[Integer, ...], _Lax]
Names = Annotated[tuple[StrictStr, ...], _Lax]
FeaturePath = Annotated[StrictStr, Field(min_length=1)]
Dimension = Annotated[StrictInt, Field(ge=0, le=2**63 - 1)] | None
Shape = Annotated[tuple[Dimension, ...], Field(strict=False, max_length=_MAX_RANK)]
DtypeName = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "string", "integer", "signed", "unsigned", "floating",
]  # fmt: skip
_DTYPE = {"enum": list(get_args(DtypeName))}
_DTYPES = {"anyOf": [_DTYPE, {"type": "array", "items": _DTYPE, "minItems": 1}]}
Dtypes = Annotated[
    tuple[DtypeName, ...],
    Field(strict=False, fail_fast=True, max_length=len(get_args(DtypeName))),
    BeforeValidator(_one_or_many),
    Field(min_length=1),  # of what passed: next to fail_fast a wrong name would leave an empty list, a second error
    WithJsonSchema(_DTYPES),
]
EmitName = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64"
]


def _one_error(kind: str) -> GetPydanticSchema:
    """Annotation of a union whose failure is one error of type ``kind``, in place of one for each of its branches."""
    error = {"custom_error_type": kind, "custom_error_message": kind}
    return GetPydanticSchema(lambda source, handler: cast("CoreSchema", {**handler(source), **error}))


Number = Annotated[StrictInt | StrictFloat, _one_error("number_type")]
# Sentinels of labels that hold numbers: NaN and null mean "not measured".
Sentinels = Annotated[
    tuple[Annotated[StrictInt | StrictFloat, _one_error("sentinel_type")] | None, ...],
    _Lax,
    AfterValidator(nan_once),
    WithJsonSchema({"type": "array", "items": {"type": ["number", "null"]}}),
]
# The limits are written twice: pydantic leaves those of a union out of the JSON Schema.
NonNegative = Annotated[Number, Field(ge=0, json_schema_extra={"minimum": 0})]
Ratio = Annotated[Number, Field(ge=0, le=1, json_schema_extra={"minimum": 0, "maximum": 1})]
Count = Annotated[StrictInt, Field(ge=0, le=2**63 - 1)]
NumClasses = Annotated[StrictInt, Field(ge=1, le=_MAX_CLASSES)]


class Model(BaseModel):
    """Strict, frozen, no unknown fields: the base of every model of a schema file."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, protected_namespaces=(), ser_json_inf_nan="constants"
    )

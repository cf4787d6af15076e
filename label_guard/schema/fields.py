"""Field types of a schema file, the base of its models, and how they report a contradiction."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, NoReturn, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

PROBLEMS = "contradictions"  # type of the pydantic error whose ctx carries Problem values


class Problem(NamedTuple):
    """A contradiction inside a schema: the rule it breaks, where (relative to the model), what, and the mend."""

    rule: str
    path: tuple[str | int, ...]
    message: str
    fix: str


def refuse(problems: list[Problem]) -> NoReturn:
    """Raise the problems as one pydantic error, for a validator; ``schema.problems_of`` unfolds them."""
    text = "; ".join(f"{p.rule} {'.'.join(map(str, p.path))}: {p.message}" for p in problems)
    raise PydanticCustomError(PROBLEMS, "{text}", {"text": text, "problems": problems})


def lenient(info: ValidationInfo) -> bool:
    """Whether contradictions pass, so that a reader can gather all of a file; only its structure is judged."""
    return bool(info.context) and bool(info.context.get("lenient"))


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


# YAML gives lists; only the outer sequence is lax, what it holds stays strict.
_Lax = Field(strict=False)
Integers = Annotated[tuple[StrictInt, ...], _Lax]
Names = Annotated[tuple[StrictStr, ...], _Lax]
Dimension = Annotated[StrictInt, Field(ge=0)] | None
Shape = Annotated[tuple[Dimension, ...], _Lax]
DtypeName = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "integer", "signed", "unsigned", "floating",
]  # fmt: skip
_DTYPE = {"enum": list(get_args(DtypeName))}
_DTYPES = {"anyOf": [_DTYPE, {"type": "array", "items": _DTYPE, "minItems": 1}]}
Dtypes = Annotated[
    tuple[DtypeName, ...],
    BeforeValidator(_one_or_many),
    Field(strict=False, min_length=1),
    WithJsonSchema(_DTYPES),
]
EmitName = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64"
]
Number = StrictInt | StrictFloat
# The limits stand twice: pydantic leaves those of a union out of the JSON Schema.
NonNegative = Annotated[Number, Field(ge=0, json_schema_extra={"minimum": 0})]
Ratio = Annotated[Number, Field(ge=0, le=1, json_schema_extra={"minimum": 0, "maximum": 1})]
Count = Annotated[StrictInt, Field(ge=0)]
NumClasses = Annotated[StrictInt, Field(ge=1)]


class Model(BaseModel):
    """Strict, frozen, no unknown fields: the base of every model of a schema file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())

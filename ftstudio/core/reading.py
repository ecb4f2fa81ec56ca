"""How a data file is read: what is left out is detected, shown, and can be set here."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ftstudio.core.errors import UsageError

FORMATS = (
    "jsonl", "json", "csv", "tsv", "parquet", "arrow", "text", "conll", "squad", "sqlite", "parallel", "images",
)  # fmt: skip
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "pipe": "|", "space": " "}


class Reading(BaseModel):
    """How a file becomes rows. None: detected."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    format: Literal[FORMATS] | None = Field(None, description=" | ".join(FORMATS))  # type: ignore[valid-type]
    encoding: str | None = Field(None, description="such as utf-8, utf-16, latin-1, cp1252, shift_jis")
    delimiter: str | None = Field(None, description="one character between cells, or tab, comma, semicolon, bar, space")
    quoted: bool | None = Field(None, description='whether " wraps cells; false: quotes are text')
    header: bool | None = Field(None, description="whether the first row names the columns")
    line_ends: Literal["any", "lf", "crlf", "cr"] | None = Field(None, description="what ends a line of text or CSV")
    unit: Literal["line", "paragraph", "whole"] | None = Field(None, description="what is a row of plain text")
    chunk: int | None = Field(None, ge=20, description="cut plain text into rows of at most N characters, at blanks")
    overlap: int = Field(0, ge=0, description="characters that a chunk repeats of the one before")
    label: bool | None = Field(None, description="whether the first word of a line of text is its label")
    scheme: Literal["bio", "iob1", "bioes", "keep"] | None = Field(
        None, description="of the tags in a CoNLL file: converted to BIO, or kept as they stand"
    )
    labels: tuple[str, ...] | None = Field(
        None, min_length=2, description="columns of 0 and 1, one a label: read as one column of lists, `labels`"
    )
    table: str | None = Field(None, description="table of an SQLite file")
    pair: str | None = Field(None, description="the second file of parallel text, line by line")
    images: str | None = Field(None, description="folder of the pictures that the rows name")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            found = codecs.lookup(value)
        except (LookupError, ValueError):
            raise ValueError("no encoding that Python knows; such as utf-8, utf-16, latin-1, cp1252") from None
        if not getattr(found, "_is_text_encoding", True):
            raise ValueError("no encoding of text")
        return value.strip().lower().replace("_", "-") if found.name.startswith("utf") else value

    @field_validator("labels", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.strip("[] ").split(",") if part.strip()]
        if isinstance(value, (list, tuple)) and len({str(part) for part in value}) < len(value):
            raise ValueError("a column stands there twice")
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is None:
            return None
        found = _DELIMITERS.get(value.lower(), value)
        if len(found) != 1 or found in '\r\n"\x00':
            raise ValueError("one character, or tab, comma, semicolon, bar, space")
        return found

    @model_validator(mode="after")
    def _overlap_fits(self) -> Reading:
        if self.overlap and (self.chunk is None or self.overlap > self.chunk // 2):
            raise ValueError("overlap needs a chunk of at least twice its length")
        return self

    @property
    def set(self) -> dict[str, Any]:
        """What is not left to detection."""
        return {name: value for name, value in self.model_dump().items() if value != _DEFAULTS[name]}


_DEFAULTS = {name: field.default for name, field in Reading.model_fields.items()}
DETECT = Reading()


def parse(words: Sequence[str]) -> Reading:
    """`key=value` WORDS as a Reading (`data.reading.` before a key may be left out). Raises UsageError."""
    values: dict[str, Any] = {}
    known = list(Reading.model_fields)
    for word in words:
        key, equals, value = word.partition("=")
        name = key.strip().removeprefix("data.").removeprefix("reading.")
        if not equals:
            raise UsageError(f"{word!r} sets nothing.", "Write key=value, such as delimiter=; or header=false.")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise UsageError(f"There is no way of reading called {name!r}.", hint)
        values[name] = None if value.lower() in ("null", "none", "auto") else value
    try:
        return Reading.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "reading"
        text = str(first["msg"]).removeprefix("Value error, ")
        shown = f" (it is {values[key]!r})" if key in values else ""
        raise UsageError(f"{key}: {text[0].lower()}{text[1:]}{shown}.", "`ftstudio data --help` lists them.") from None

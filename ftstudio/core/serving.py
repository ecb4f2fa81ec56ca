"""Settings of what answers or judges beside the runs: a server that speaks OpenAI's chat completions, and the judge."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_STRICT = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Server(BaseModel):
    """How a server is asked. Its key is read from the environment and never written anywhere."""

    model_config = _STRICT
    key_variable: str = Field("OPENAI_API_KEY", description="the environment variable that holds the key, if any")
    timeout: float = Field(120.0, gt=0, description="seconds an answer may take")
    retries: int = Field(5, ge=0, le=20, description="tries after a failed one; waits double, Retry-After is kept to")
    parallel: int = Field(4, ge=1, le=64, description="questions in work at once")
    price_in: float | None = Field(None, ge=0, description="price of a million tokens read, to add up the cost")
    price_out: float | None = Field(None, ge=0, description="price of a million tokens written")

    @field_validator("key_variable")
    @classmethod
    def _a_name(cls, value: str) -> str:
        """A key in the recipe would be copied with every run: the name of a variable it must be."""
        if not value.replace("_", "a").isalnum() or value[:1].isdigit() or value.lower().startswith("sk_"):
            raise ValueError("the name of an environment variable (such as OPENAI_API_KEY), not the key itself")
        return value


class Judge(BaseModel):
    """Who says which of two answers is better. Local: `model`. A server: `url` and the name of its `model`."""

    model_config = _STRICT
    model: str = Field(
        "base", description="`base` (the run's own), a folder or hub id; with `url` the model's name at the server"
    )
    url: str | None = Field(
        None, description="base URL of an OpenAI-compatible server, such as http://localhost:8000/v1"
    )
    rubric: str | None = Field(None, description="what makes an answer better; left out: right, complete, to the point")
    rows: int = Field(200, ge=1, description="rows that are judged, at most")
    reference: bool = Field(True, description="show the judge the reference answer")
    server: Server = Field(default_factory=Server, description="how the server is asked")

    @field_validator("url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("an address that begins with http:// or https://")
        if value is not None and ("@" in value or "?" in value):
            raise ValueError("an address without key or password: the key comes from the environment")
        return value.rstrip("/") if value else value

    @model_validator(mode="after")
    def _named(self) -> Judge:
        if self.url is not None and self.model == "base":
            raise ValueError("with `url`, `model` is the model's name at the server")
        return self

"""Every setting, grouped, documented, validated at start.

From the strongest to the weakest: arguments, environment (`RAGSTONE_GROUP__NAME`),
`ragstone.toml` in the data folder, `ragstone.toml` in the working folder, defaults.
"""

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ragstone.domain.errors import InvalidSettings, did_you_mean

DEFAULT_HOME = Path(".ragstone")


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class ServerSettings(_Group):
    """Where and how the server listens."""

    host: str = "127.0.0.1"
    """Address to listen on. Other than loopback needs API keys."""
    port: int = Field(default=8080, ge=0, le=65535)
    """TCP port; 0 takes a free one."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Largest JSON request body. Uploads have `ingest.max_file_bytes`."""
    heartbeat_seconds: float = Field(default=15.0, gt=0)
    """Silence after which a comment keeps an event stream open."""
    shutdown_seconds: float = Field(default=10.0, ge=0)
    """How long open requests may finish after a signal to stop."""


class EmbedderSettings(_Group):
    """Who turns text into vectors."""

    provider: Literal["local", "openai", "fake"] = "local"
    """`local`: all-MiniLM-L6-v2 in ONNX Runtime. `openai`: any server with `/v1/embeddings`.
    `fake`: hashed words, for tests."""
    threads: int = Field(default=2, ge=1, le=64)
    """Threads of the local model."""
    cache_dir: Path | None = None
    """Where built model files are kept; default `~/.cache/ragstone`."""
    base_url: str = ""
    """For `openai`: the address up to and including `/v1`."""
    model: str = ""
    """For `openai`: the model's name."""
    api_key: SecretStr = SecretStr("")
    """For `openai`: sent as a bearer token; never logged."""
    dimensions: int = Field(default=384, ge=1, le=16_384)
    """For `openai` and `fake`: the length of its vectors."""
    timeout_seconds: float = Field(default=30.0, gt=0)
    """For `openai`: longest wait for one batch."""


class LlmSettings(_Group):
    """Who writes answers. With no model configured, answers are extracted from the passages."""

    provider: Literal["openai", "anthropic"] = "openai"
    """The wire format: OpenAI's chat completions (most servers) or Anthropic's messages."""
    base_url: str = ""
    """Address up to and including `/v1`. Empty: the provider's own."""
    model: str = ""
    """The model's name. Empty: no model, extractive answers."""
    api_key: SecretStr = SecretStr("")
    """Sent in the provider's header; never logged."""
    max_tokens: int = Field(default=512, ge=1, le=100_000)
    """Longest answer, in the model's tokens."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0 repeats itself; answers from evidence want that."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """Longest generation."""
    connect_seconds: float = Field(default=3.0, gt=0)
    """Longest wait for a connection."""
    max_connections: int = Field(default=256, ge=1)
    """Connections kept to the model's server."""


class RetrievalSettings(_Group):
    """How passages are found and chosen."""

    top_k: int = Field(default=5, ge=1, le=100)
    """Passages given to the answer when the request does not say."""
    candidates: int = Field(default=50, ge=1, le=1000)
    """Passages taken from each leg before fusion."""
    fusion: Literal["convex", "rrf"] = "convex"
    """How the legs are joined; docs/decisions has the measurement."""
    dense_weight: float = Field(default=0.5, ge=0, le=1)
    """For `convex`: share of the dense leg."""
    context_tokens: int = Field(default=1500, ge=50, le=200_000)
    """Token budget of the packed passages."""
    default_collection: str = "default"
    """The collection that is asked when the request names none."""


class IngestSettings(_Group):
    """How documents are read and cut."""

    chunk_tokens: int = Field(default=200, ge=16, le=2048)
    """Target size of a chunk; docs/decisions has the measurement."""
    chunk_overlap_tokens: int = Field(default=0, ge=0, le=1024)
    """Tokens repeated from the chunk before."""
    max_file_bytes: int = Field(default=50_000_000, ge=1)
    """A larger file is refused."""
    max_document_chars: int = Field(default=5_000_000, ge=1)
    """A document with more text is refused."""
    parser_workers: int = Field(default=2, ge=1, le=64)
    """Parser processes."""
    parser_timeout_seconds: float = Field(default=60.0, gt=0)
    """A parser that takes longer over one source is killed."""
    parser_memory_bytes: int = Field(default=2_000_000_000, ge=100_000_000)
    """Address space of one parser process."""


class AdmissionSettings(_Group):
    """How many questions run, and how many wait."""

    concurrency: int = Field(default=64, ge=1)
    """Questions that run at once."""
    queue: int = Field(default=128, ge=0)
    """Questions that wait; one more is refused at once with `Retry-After`."""
    deadline_seconds: float = Field(default=60.0, gt=0)
    """Longest time for one question, waiting included."""


class RecordsSettings(_Group):
    """Where documents, jobs and keys are recorded."""

    url: str = ""
    """SQLAlchemy address such as `postgresql+psycopg://...`. Empty: SQLite in the data folder."""


class LogSettings(_Group):
    """What the server says about itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is written."""
    format: Literal["auto", "json", "text"] = "auto"
    """`auto`: text in a terminal, JSON elsewhere."""


class Settings(BaseSettings):
    """All of it. `load_settings` makes one; nothing else reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix="RAGSTONE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    home: Path = DEFAULT_HOME
    """The folder in which everything is kept."""
    server: ServerSettings = ServerSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    llm: LlmSettings = LlmSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    ingest: IngestSettings = IngestSettings()
    admission: AdmissionSettings = AdmissionSettings()
    records: RecordsSettings = RecordsSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over the values read from files, which arrive as init arguments."""
        return (env_settings, init_settings)


def load_settings(
    home: Path | None = None, overrides: dict[str, dict[str, Any]] | None = None
) -> Settings:
    """Read the files and the environment. Raises `InvalidSettings` naming what is wrong.

    `overrides` are arguments of a command, `{"server": {"port": 9000}}`: they win over all.
    """
    home = home or Path(os.environ.get("RAGSTONE_HOME") or DEFAULT_HOME)
    _refuse_unknown_environment()
    values: dict[str, Any] = {}
    for file in (Path("ragstone.toml"), home / "ragstone.toml"):
        values = _merged(values, _read_toml(file))
    values = _merged(values, _environment())
    values = _merged(values, overrides or {})
    values["home"] = home
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _invalid(error) from None

"""Every setting, grouped, documented, validated at start.

From the strongest to the weakest: arguments, environment (`RAGSTONE_GROUP__NAME`),
`ragstone.toml` in the data folder, `ragstone.toml` in the working folder, defaults.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from ragstone.domain.errors import InvalidSettings, did_you_mean

DEFAULT_HOME = Path(".ragstone")

_PREFIX = "RAGSTONE_"
_OTHER_VARIABLES = frozenset({"RAGSTONE_HOME", "RAGSTONE_API_KEY"})
"""Read elsewhere: the data folder, and the key whose rights commands have."""

_BOUNDS = (
    ("llm.timeout_seconds", "admission.deadline_seconds"),
    ("llm.first_token_seconds", "admission.deadline_seconds"),
    ("llm.gap_seconds", "admission.deadline_seconds"),
    ("llm.connect_seconds", "llm.first_token_seconds"),
    ("reranker.timeout_seconds", "admission.deadline_seconds"),
    ("engine.timeout_seconds", "admission.deadline_seconds"),
    ("ladder.first_token_seconds", "llm.first_token_seconds"),
    ("admission.target_seconds", "admission.interval_seconds"),
    ("resilience.min_concurrency", "resilience.initial_concurrency"),
    ("resilience.initial_concurrency", "llm.max_connections"),
)
"""The budget of a stage is no larger than the whole; no least above what it is the least of."""


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
    max_bodies_bytes: int = Field(default=256_000_000, ge=1_000_000)
    """Most bytes of all request bodies that a process reads at once, and of documents as many
    again. Beyond, requests are refused before they are read."""
    heartbeat_seconds: float = Field(default=15.0, gt=0)
    """Silence after which a comment keeps an event stream open."""
    send_seconds: float = Field(default=30.0, gt=0)
    """How long a client may read nothing of its answer before it is dropped."""
    shutdown_seconds: float = Field(default=10.0, ge=0)
    """How long open requests may finish after a signal to stop; then streams end with an event."""
    workers: int | None = Field(default=None, ge=0, le=256)
    """Gateway processes before one engine process; 0: all in one process. Default: what
    measured best for the cores of this machine."""
    restarts: int = Field(default=10, ge=0)
    """How often within a minute a process that died is started again, before giving up."""


class EngineSettings(_Group):
    """The process with index, embedder and records; of use with gateway processes."""

    url: str = ""
    """An engine on another host, which must be one of ours. Empty: one is started here."""
    token: SecretStr = SecretStr("")
    """What that engine's `engine.token` is; it vouches for who asks. Never logged."""
    timeout_seconds: float = Field(default=10.0, gt=0)
    """Longest wait for an engine that does not answer, such as while it is started again."""


class EmbedderSettings(_Group):
    """Who turns text into vectors."""

    provider: Literal["local", "openai", "fake"] = "local"
    """`local`: all-MiniLM-L6-v2 in ONNX Runtime. `openai`: any server with `/v1/embeddings`.
    `fake`: hashed words, for tests."""
    threads: int = Field(default=2, ge=1, le=64)
    """Threads of the local model."""
    cache_dir: Path | None = None
    """Where built model files are kept; default `~/.cache/ragstone`."""
    weights_dir: Path | None = None
    """Folder or file with the published weights; default: the installed package, else the hub."""
    base_url: str = ""
    """For `openai`: the address up to and including `/v1`."""
    model: str = ""
    """For `openai`: the model's name."""
    api_key: SecretStr = SecretStr("")
    """For `openai`: sent as a bearer token; never logged."""
    price: Decimal | None = Field(default=None, ge=0)
    """For `openai`: dollars for a million tokens. Default: from the price list."""
    dimensions: int = Field(default=384, ge=1, le=16_384)
    """For `openai` and `fake`: the length of its vectors."""
    timeout_seconds: float = Field(default=30.0, gt=0)
    """For `openai`: longest wait for one batch."""


class LlmEndpoint(_Group):
    """Where one language model is asked."""

    provider: Literal["openai", "anthropic"] = "openai"
    """The wire format: OpenAI's chat completions (most servers) or Anthropic's messages."""
    base_url: str = ""
    """Address up to and including `/v1`. Empty: the provider's own."""
    model: str = ""
    """The model's name. Empty: no model, extractive answers."""
    api_key: SecretStr = SecretStr("")
    """Sent in the provider's header; never logged."""
    quality: int = Field(default=1, ge=0, le=9)
    """Its class among the models of the route: an answer is escalated to a higher one."""
    region: str = ""
    """Where it computes, such as `eu`; told in the receipt."""
    input_price: Decimal | None = Field(default=None, ge=0)
    """Dollars for a million tokens of input. Default: from the price list; a model that is billed
    and has no known price is refused."""
    cached_input_price: Decimal | None = Field(default=None, ge=0)
    """The same for input that the provider serves from its prompt cache; default: `input_price`."""
    output_price: Decimal | None = Field(default=None, ge=0)
    """The same for output."""


class LlmSettings(LlmEndpoint):
    """Who writes answers. With no model configured, answers are extracted from the passages."""

    fallbacks: tuple[LlmEndpoint, ...] = ()
    """Asked in this order when the one before fails, is overloaded or is cut off by its breaker,
    before the first token. In the environment a JSON list."""
    max_tokens: int = Field(default=512, ge=1, le=100_000)
    """Longest answer, in the model's tokens."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0 repeats itself; answers from evidence want that."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """Longest generation."""
    connect_seconds: float = Field(default=3.0, gt=0)
    """Longest wait for a connection."""
    first_token_seconds: float = Field(default=20.0, gt=0)
    """Longest wait for the first content; pings and thinking are none."""
    gap_seconds: float = Field(default=10.0, gt=0)
    """Longest silence between two contents."""
    max_connections: int = Field(default=1024, ge=1)
    """Connections kept to the model's server, and the most that the adaptive limit may allow."""

    @field_validator("fallbacks", mode="before")
    @classmethod
    def _from_environment(cls, value: object) -> object:
        """The environment holds text. A `ValueError` becomes `InvalidSettings`."""
        return json.loads(value or "[]") if isinstance(value, str) else value


class RetrievalSettings(_Group):
    """How passages are found and chosen."""

    top_k: int = Field(default=5, ge=1, le=100)
    """Passages given to the answer when the request does not say."""
    candidates: int = Field(default=50, ge=1, le=1000)
    """Passages taken from each leg before fusion."""
    fusion: Literal["convex", "rrf"] = "convex"
    """How the legs are joined; docs/decisions has the measurement."""
    dense_weight: float = Field(default=0.7, ge=0, le=1)
    """For `convex`: share of the dense leg."""
    context_tokens: int = Field(default=1500, ge=50, le=200_000)
    """Token budget of the packed passages."""
    compression: float = Field(default=1.0, gt=0, le=1)
    """Most of the passages' tokens that is sent to the model, as a share: the sentences that matter
    to the question, fewer where few stand out. 1 sends them whole; docs/decisions has the
    measurement."""
    conversation_tokens: int = Field(default=800, ge=0, le=200_000)
    """Token budget of the earlier turns; what does not fit is condensed."""
    default_collection: str = "default"
    """The collection that is asked when the request names none."""


class RerankerSettings(_Group):
    """Who reorders the candidates; none unless `base_url` is set."""

    base_url: str = ""
    """A server with `/rerank` in the wire format of Cohere and Jina, up to and including `/v1`."""
    model: str = ""
    """Its model's name."""
    api_key: SecretStr = SecretStr("")
    """Sent as a bearer token; never logged."""
    price: Decimal | None = Field(default=None, ge=0)
    """Dollars for a million tokens, where it is billed so."""
    call_price: Decimal | None = Field(default=None, ge=0)
    """Dollars for a thousand calls, where it is billed so."""
    timeout_seconds: float = Field(default=0.5, gt=0)
    """After this the fused order stands, and the response says so."""


class CacheSettings(_Group):
    """What is kept of earlier questions, for equal ones over unchanged documents."""

    enabled: bool = True
    """Whether answers and vectors are kept at all."""
    url: str = ""
    """A Valkey or Redis server that all processes share, such as `redis://127.0.0.1:6379/0`.
    Empty: each process keeps its own."""
    prefix: str = Field(default="ragstone", min_length=1, max_length=100)
    """What keys in it begin with; behind it stands a name of this data folder's own."""
    timeout_seconds: float = Field(default=0.05, gt=0)
    """Longest wait for that server; after it, a miss."""
    max_bytes: int = Field(default=32_000_000, ge=0)
    """Bound on the answers that a process keeps."""
    embedding_max_bytes: int = Field(default=16_000_000, ge=0)
    """Bound on the vectors of questions that a process keeps; 0 keeps none."""
    ttl_seconds: float = Field(default=3600.0, gt=0)
    """Longest life of an answer, give or take a tenth; a changed document ends it at once."""
    not_found_seconds: float = Field(default=30.0, gt=0)
    """Longest life of an answer that says that nothing was found."""
    refresh_share: float = Field(default=0.1, ge=0, lt=1)
    """In the last part of its life, an answer that is asked for is made anew in the background."""
    sweep_seconds: float = Field(default=5.0, gt=0)
    """How often the bytes of entries that can no longer be reached are removed."""
    single_flight: bool = True
    """Whether equal questions at the same time share one generation."""
    semantic: bool = False
    """Whether a similar question over the same evidence may be answered from the cache."""
    semantic_similarity: float = Field(default=0.95, gt=0, le=1)
    """Least cosine between the two questions; docs/decisions has the measurement."""
    semantic_shadow_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the semantic hits that are answered afresh as well, and compared."""
    semantic_false_hits: float = Field(default=0.02, ge=0, le=1)
    """Share of false hits among those above which the semantic tier switches itself off."""


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
    max_cost_dollars: Decimal = Field(default=Decimal(0), ge=0)
    """Most that embedding one ingestion job may cost, estimated before it begins. 0: no cap."""
    parser_workers: int = Field(default=2, ge=1, le=64)
    """Parser processes."""
    parser_timeout_seconds: float = Field(default=60.0, gt=0)
    """A parser that takes longer over one source is killed."""
    parser_memory_bytes: int = Field(default=2_000_000_000, ge=100_000_000)
    """Address space of one parser process."""


class AdmissionSettings(_Group):
    """How many questions run, how many wait, and who is refused."""

    enabled: bool = True
    """False: everybody begins at once, the model is asked without limit or breaker, and nothing is
    left out under load. To see what then happens, not to run with."""
    concurrency: int = Field(default=64, ge=1)
    """Most slots: requests that embed, search and pack at once; at first four for each core, and
    more only where an embedder, a reranker or an engine elsewhere is found to allow it. A question
    gives its slot back when the model begins to write."""
    in_flight: int = Field(default=2048, ge=1)
    """Requests held at once, open streams included; bounds memory."""
    queue: int = Field(default=256, ge=0)
    """Requests that wait for a slot; one more is refused at once with `Retry-After`."""
    target_seconds: float = Field(default=0.02, gt=0)
    """CoDel: longest wait once the queue has not been empty for the interval. While requests are
    refused, who would wait for more than half of it is refused at once."""
    interval_seconds: float = Field(default=0.5, gt=0)
    """CoDel: longest wait before that, so that a burst may pass."""
    tenant_share: float = Field(default=0.25, gt=0, le=1)
    """Share of the slots that one tenant may have while others wait."""
    deadline_seconds: float = Field(default=60.0, gt=0)
    """Longest time for one question, waiting included; a client may ask for less with the
    header `X-Request-Deadline-Ms`."""


class ResilienceSettings(_Group):
    """How calls to models and other services are limited, repeated and given up."""

    retry_budget: float = Field(default=0.1, ge=0, le=1)
    """Retries as a share of first attempts."""
    retry_attempts: int = Field(default=2, ge=1, le=10)
    """Attempts at one endpoint, the first included."""
    retry_base_seconds: float = Field(default=0.1, gt=0)
    """Upper bound of the first pause, which is drawn at random (full jitter); it doubles."""
    breaker_failures: float = Field(default=0.5, gt=0, le=1)
    """Share of failed calls that opens the breaker of an endpoint."""
    breaker_calls: int = Field(default=10, ge=1)
    """Fewest calls in the window before that share counts."""
    breaker_window_seconds: float = Field(default=10.0, gt=0)
    """The window."""
    breaker_open_seconds: float = Field(default=5.0, gt=0)
    """How long it stays open before a probe."""
    throttle_ratio: float = Field(default=2.0, ge=1)
    """Calls sent for each that an endpoint accepted, before some are withheld (Google SRE)."""
    hedge_share: float = Field(default=0.05, ge=0, le=1)
    """Extra calls for slow reads, as a share of all; 0 switches hedging off."""
    min_concurrency: int = Field(default=4, ge=1)
    """Least that an adaptive limit allows."""
    initial_concurrency: int = Field(default=16, ge=1)
    """Where an adaptive limit begins. It grows within a window of calls, while what was let in
    too many waits inside the model for as long as a stream lasts."""


class LadderSettings(_Group):
    """What is left out under load, before anybody is refused."""

    enabled: bool = True
    """False: the controller takes no rung; failures still do."""
    last_rung: Literal[
        "reranker_skipped", "fewer_passages", "shorter_answer", "extract_lexical", "passages_only"
    ] = "passages_only"
    """How far down load alone may go."""
    first_token_seconds: float = Field(default=2.0, gt=0)
    """A time to first token above this is pressure."""
    climb_seconds: float = Field(default=1.0, gt=0)
    """Pressure for this long takes the next rung."""
    recover_seconds: float = Field(default=5.0, gt=0)
    """Calm for this long gives one back."""


class BudgetSettings(_Group):
    """How budgets are kept; which ones there are is said with `ragstone budgets set`."""

    economy_at: float = Field(default=0.8, gt=0, le=1)
    """Share of a budget from which on the cheapest model of the route answers."""
    lease_seconds: float = Field(default=30.0, gt=0)
    """A process that has not reported for this long has lost the slices that it held: they count
    as spent."""
    report_seconds: float = Field(default=1.0, gt=0)
    """How often a process writes what it spent to the records."""
    most_per_tenant: int = Field(default=1000, ge=1)
    """Budgets that one tenant may have; one for `each` counts once. Every process reads those of
    the tenants that ask once a second."""


class QuotaSettings(_Group):
    """How much each key and each tenant may ask in a minute. 0: as much as it likes."""

    key_requests_per_minute: int = Field(default=0, ge=0)
    """Requests of one key that has no number of its own."""
    key_tokens_per_minute: int = Field(default=0, ge=0)
    """Tokens of the language model for one key that has no number of its own."""
    tenant_requests_per_minute: int = Field(default=0, ge=0)
    """Requests of one tenant."""
    tenant_tokens_per_minute: int = Field(default=0, ge=0)
    """Tokens of the language model for one tenant."""


class RoutingSettings(_Group):
    """Which of several models answers."""

    escalate: Literal["off", "abstained", "unsupported"] = "off"
    """When the next model of a higher `quality` is asked: after an answer that says that nothing
    was found; or also after one without a citation, for which whole answers are held back."""


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


class Settings(_Group):
    """All of it. `load_settings` makes one; nothing else reads the environment."""

    home: Path = DEFAULT_HOME
    """The folder in which everything is kept."""
    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    llm: LlmSettings = LlmSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    reranker: RerankerSettings = RerankerSettings()
    cache: CacheSettings = CacheSettings()
    ingest: IngestSettings = IngestSettings()
    admission: AdmissionSettings = AdmissionSettings()
    resilience: ResilienceSettings = ResilienceSettings()
    ladder: LadderSettings = LadderSettings()
    budgets: BudgetSettings = BudgetSettings()
    quotas: QuotaSettings = QuotaSettings()
    routing: RoutingSettings = RoutingSettings()
    records: RecordsSettings = RecordsSettings()
    log: LogSettings = LogSettings()


def cores() -> int:
    """The processor cores that this process may use; some defaults go by them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def home_folder(home: Path | None = None) -> Path:
    """The data folder: the argument, else `RAGSTONE_HOME`, else `./.ragstone`."""
    return home or Path(os.environ.get("RAGSTONE_HOME") or DEFAULT_HOME)


def load_settings(
    home: Path | None = None, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """Read files and environment. Raises `InvalidSettings` naming the setting and the value.

    `overrides` are a command's own arguments, `{"server": {"port": 9000}}`: they win over all.
    """
    home = home_folder(home)
    values: dict[str, Any] = {}
    for file in (Path("ragstone.toml"), home / "ragstone.toml"):
        values = _merged(values, _read_toml(file))
    values = _merged(values, _read_environment())
    values = _merged(values, overrides or {})
    try:
        settings = Settings.model_validate({**values, "home": home})
    except ValidationError as error:
        raise _invalid(error) from None
    _check_bounds(settings)
    return settings


def _check_bounds(settings: Settings) -> None:
    """Refuses what was set above its bound; a default above it just never comes into play."""
    for name, bound in _BOUNDS:
        group, _, field = name.partition(".")
        of_bound, _, bounding = bound.partition(".")
        chosen = getattr(settings, group)
        value, most = getattr(chosen, field), getattr(getattr(settings, of_bound), bounding)
        if field in chosen.model_fields_set and value > most:
            raise InvalidSettings(
                f"The setting {name} is {value:g}, above {bound}, which is {most:g}: "
                "it could never be reached.",
                remedy=f"Lower {name} or raise {bound}.",
                field=name,
            )


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
            merged[name] = {**merged[name], **value}
        else:
            merged[name] = value
    return merged


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{file} cannot be read: {error}.") from None
    if "home" in values:
        raise InvalidSettings(
            f"{file} sets `home`, which a settings file cannot do.",
            remedy="Use --home or RAGSTONE_HOME.",
            field="home",
        )
    return values


def _read_environment() -> dict[str, Any]:
    """`RAGSTONE_GROUP__NAME=value` as `{group: {name: value}}`; the values stay text."""
    values: dict[str, Any] = {}
    for variable, value in os.environ.items():
        if not variable.startswith(_PREFIX) or variable in _OTHER_VARIABLES:
            continue
        group, separator, name = variable.removeprefix(_PREFIX).lower().partition("__")
        if not separator:
            raise InvalidSettings(
                f"The environment variable {variable} is not a setting.",
                remedy=did_you_mean(variable, _environment_names(), what="variables"),
                field=variable,
            )
        values.setdefault(group, {})[name] = value
    return values


def setting_names() -> list[str]:
    """Every setting as `group.name`."""
    return [
        f"{group}.{name}"
        for group, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name in field.annotation.model_fields
    ]


def _environment_names() -> list[str]:
    names = [_PREFIX + name.upper().replace(".", "__") for name in setting_names()]
    return [*names, *_OTHER_VARIABLES]


def _invalid(error: ValidationError) -> InvalidSettings:
    """The first problem as a sentence; the others are named when it is mended."""
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        groups = [name for name in Settings.model_fields if name != "home"]
        known = setting_names() if "." in path else groups
        return InvalidSettings(
            f"There is no setting {path!r}.",
            remedy=did_you_mean(path, known, what="settings"),
            field=path,
        )
    secret = any(part in path for part in ("key", "url", "fallbacks"))
    given = "" if secret else f" to {problem['input']!r}"
    variable = _PREFIX + path.upper().replace(".", "__")
    return InvalidSettings(
        f"The setting {path} cannot be set{given}: {problem['msg'].lower()}.",
        remedy=f"Change it in ragstone.toml or in {variable}.",
        field=path,
    )

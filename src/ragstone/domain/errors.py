"""Every error a caller can meet.

    RagstoneError
    +-- InvalidRequest              the caller can fix the request
    |   +-- InvalidFilter
    |   +-- PayloadTooLarge
    |   +-- RequestTimeout          the request itself did not arrive in time
    +-- Unauthenticated             no key, or one that is not known
    +-- Forbidden                   the key lacks the scope
    +-- NotFound                    absent, or another tenant's: not told apart
    |   +-- UnknownCollection
    |   +-- UnknownModel
    |   +-- UnknownDocument
    |   +-- UnknownJob
    |   +-- UnknownBudget
    +-- Conflict
    |   +-- EmbedderMismatch        the collection was embedded by another model
    |   +-- TooManyBudgets          the tenant has as many as one may have
    +-- Unreadable                  a document that cannot be parsed
    |   +-- UnsupportedFormat
    |   +-- EmptyDocument
    |   +-- EncryptedDocument
    |   +-- DamagedDocument
    |   +-- UndecodableText
    |   +-- DocumentTooLarge
    |   +-- ParserCrashed
    +-- TooManyRequests             the caller's own limit; others are served
    |   +-- RateLimited             requests in a minute
    |   +-- TokensRateLimited       tokens of the language model in a minute
    +-- BudgetExhausted             the money or the tokens of a day or a month are spent
    +-- Overloaded                  try again after `retry_after` seconds
    |   +-- ShuttingDown            this server stops; another one, or the next, answers
    +-- DeadlineExceeded
    +-- DependencyError             something this server needs failed
    |   +-- CircuitOpen             it failed so often that it is not asked for a while
    |   +-- DependencyBusy          it has as many calls as it can do
    |   +-- ModelError              the language model
    |   |   +-- ModelUnreachable
    |   |   +-- ModelTimedOut           connected, but no content in time
    |   |   +-- ModelAuthentication
    |   |   +-- ModelNotFound
    |   |   +-- ModelRateLimited
    |   |   +-- ModelQuotaExhausted     the account is out of credit: waiting does not help
    |   |   +-- ModelRejectedRequest
    |   |   +-- ModelFailed
    |   |   +-- ModelProtocolError
    |   +-- EmbedderError
    |   |   +-- EmbedderRejected        it refused this text; others it takes
    |   +-- IndexUnavailable
    |   +-- RecordsUnavailable
    +-- StartupError                the server or a command cannot begin
    |   +-- InvalidSettings
    |   +-- UnknownPrice            a model that is billed, and nobody said at what price
    |   +-- HomeMissing             a command that only reads found no data folder
    |   +-- HomeLocked              another process has the data folder
    |   +-- HomeNotWritable
    |   +-- HomeTooNew              the folder was written by a later version
    |   +-- PortInUse
    |   +-- InsecureBind
    |   +-- InvalidExperiment       a load, a simulation or a fault that cannot be
    |   |   +-- TargetNotConfirmed  not loopback, and nobody said that it is theirs
    |   +-- ModelFilesMissing
    +-- InternalError

Each class fixes a stable `code`. `retriable` says whether the same request may succeed
later, and `retry_after` (seconds) how much later at the earliest. The HTTP status lives in
`server/errors.py` only.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class RagstoneError(Exception):
    """One clear sentence (`message`), and what to do about it (`remedy`)."""

    code: ClassVar[str] = "internal_error"
    retriable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.field = field
        """The setting or request field at fault, where there is one."""
        self.retry_after = retry_after
        """Seconds; None where waiting does not help or is not known."""

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class InternalError(RagstoneError):
    """A fault of ours; details are in the log under the trace id, never in the response."""


class InvalidRequest(RagstoneError):
    code = "invalid_request"


class InvalidFilter(InvalidRequest):
    code = "invalid_filter"


class PayloadTooLarge(InvalidRequest):
    code = "payload_too_large"


class RequestTimeout(InvalidRequest):
    code = "request_timeout"
    retriable = True


class Unauthenticated(RagstoneError):
    code = "unauthenticated"


class Forbidden(RagstoneError):
    code = "forbidden"


class NotFound(RagstoneError):
    code = "not_found"


class UnknownCollection(NotFound):
    code = "unknown_collection"


class UnknownModel(NotFound):
    code = "model_not_found"


class UnknownDocument(NotFound):
    code = "unknown_document"


class UnknownJob(NotFound):
    code = "unknown_job"


class UnknownBudget(NotFound):
    code = "unknown_budget"


class Conflict(RagstoneError):
    code = "conflict"


class EmbedderMismatch(Conflict):
    code = "embedder_mismatch"


class TooManyBudgets(Conflict):
    code = "too_many_budgets"


class Unreadable(RagstoneError):
    code = "unreadable"


class UnsupportedFormat(Unreadable):
    code = "unsupported_format"


class EmptyDocument(Unreadable):
    code = "empty_document"


class EncryptedDocument(Unreadable):
    code = "encrypted_document"


class DamagedDocument(Unreadable):
    code = "damaged_document"


class UndecodableText(Unreadable):
    code = "undecodable_text"


class DocumentTooLarge(Unreadable):
    code = "document_too_large"


class ParserCrashed(Unreadable):
    code = "parser_crashed"


class TooManyRequests(RagstoneError):
    """The caller has as much running or waiting as one caller may have."""

    code = "too_many_requests"
    retriable = True


class RateLimited(TooManyRequests):
    code = "rate_limited"


class TokensRateLimited(TooManyRequests):
    code = "tokens_rate_limited"


class BudgetExhausted(RagstoneError):
    """`retry_after` is the end of the day or month for which the budget was."""

    code = "budget_exhausted"
    scope: str = ""
    """Whose budget it is: `tenant`, `key`, `user` or `application`."""


class Overloaded(RagstoneError):
    code = "overloaded"
    retriable = True


class ShuttingDown(Overloaded):
    code = "shutting_down"


class DeadlineExceeded(RagstoneError):
    code = "deadline_exceeded"
    retriable = True


class DependencyError(RagstoneError):
    code = "dependency_failed"
    retriable = True


class CircuitOpen(DependencyError):
    code = "circuit_open"


class DependencyBusy(DependencyError):
    code = "dependency_busy"


class ModelError(DependencyError):
    code = "model_failed"


class ModelUnreachable(ModelError):
    code = "model_unreachable"


class ModelTimedOut(ModelError):
    """No first content, or none after some, within the limit for it."""

    code = "model_timed_out"


class ModelAuthentication(ModelError):
    code = "model_authentication"
    retriable = False


class ModelNotFound(ModelError):
    code = "model_not_found_upstream"
    retriable = False


class ModelRateLimited(ModelError):
    code = "model_rate_limited"


class ModelQuotaExhausted(ModelError):
    """The account behind the key has no credit left: not retried, unlike a rate limit."""

    code = "model_quota_exhausted"
    retriable = False


class ModelRejectedRequest(ModelError):
    """The provider refused the request itself (400, 413, 422): sending it again cannot help."""

    code = "model_rejected_request"
    retriable = False


class ModelFailed(ModelError):
    """The provider answered with a server error."""


class ModelProtocolError(ModelError):
    """The provider answered with something that is not its wire format, or broke off."""

    code = "model_protocol_error"


class EmbedderError(DependencyError):
    code = "embedder_failed"


class EmbedderRejected(EmbedderError):
    """The server refused the request itself (400, 413, 422): sending it again cannot help."""

    code = "embedder_rejected"
    retriable = False


class IndexUnavailable(DependencyError):
    code = "index_unavailable"


class RecordsUnavailable(DependencyError):
    code = "records_unavailable"


class StartupError(RagstoneError):
    code = "startup_failed"


class InvalidSettings(StartupError):
    code = "invalid_settings"


class UnknownPrice(StartupError):
    code = "unknown_price"


class HomeMissing(StartupError):
    code = "home_missing"


class HomeLocked(StartupError):
    code = "home_locked"


class HomeNotWritable(StartupError):
    code = "home_not_writable"


class HomeTooNew(StartupError):
    code = "home_too_new"


class PortInUse(StartupError):
    code = "port_in_use"


class InsecureBind(StartupError):
    code = "insecure_bind"


class ModelFilesMissing(StartupError):
    code = "model_files_missing"


class InvalidExperiment(StartupError):
    code = "invalid_experiment"


class TargetNotConfirmed(InvalidExperiment):
    code = "target_not_confirmed"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be, or None."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str], *, what: str) -> str:
    """A remedy: the nearest valid name, else the valid names (at most ten)."""
    names = sorted(known)
    if (match := nearest(name, names)) is not None:
        return f"Did you mean {match!r}?"
    if not names:
        return f"There are no {what} yet."
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"Known {what}: {', '.join(names[:10])}{more}."

"""Who may ask how much in a minute: the settings and the keys' own numbers over the buckets."""

import hashlib
import logging
import math
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

import msgspec

from ragstone.domain.errors import RateLimited, TokensRateLimited
from ragstone.domain.principal import Principal
from ragstone.domain.quota import RateLimit, RateLimits, TokensTaken
from ragstone.governance.quotas.bucket_table import MINUTE, SLOT, Bucket, BucketTable, Mark
from ragstone.governance.quotas.shared import SharedBuckets, TableUnavailable
from ragstone.ports import Clock

_OWN_SLOTS: Final = 1 << 14
_SECOND: Final = 1_000_000_000
_REMEMBERED: Final = 4096
"""Callers whose buckets are remembered, by unit."""
_log = logging.getLogger(__name__)

Unit = Literal["requests", "tokens"]


class MinuteLimits(msgspec.Struct, frozen=True, kw_only=True):
    """In a minute; 0: without limit."""

    key_requests: int = 0
    """Of a key that has no number of its own."""
    key_tokens: int = 0
    tenant_requests: int = 0
    tenant_tokens: int = 0


class MinuteQuotas:
    """Implements `ports.Quotas` by GCRA; see `bucket_table`.

    With `shared` buckets the limits hold exactly over all processes that share them. While these
    cannot be reached, each process counts by itself, up to its part of every limit.
    """

    def __init__(
        self, limits: MinuteLimits, clock: Clock, shared: SharedBuckets | None = None
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._shared = shared
        self._own = BucketTable(memoryview(bytearray(_OWN_SLOTS * SLOT * 8)).cast("q"))
        self._alone = False
        """The shared buckets could not be reached when they were last asked for."""
        self._key = shared.key if shared is not None else secrets.token_bytes(16)
        self._buckets = lru_cache(_REMEMBERED)(self._find_buckets)

    def check_request(self, principal: Principal) -> None:
        buckets = self._requests_of(principal)
        if buckets and (wait := self._take_one(buckets)):
            raise RateLimited(
                f"There were more than {_said(buckets)} in a minute.",
                remedy="Wait as long as Retry-After says, or have the quota raised.",
                retry_after=wait / _SECOND,
            )

    def take_tokens(self, principal: Principal, tokens: int) -> TokensTaken | None:
        buckets = self._tokens_of(principal)
        if not buckets:
            return None
        wait, marks = self._take(buckets, tokens)
        if wait:
            raise TokensRateLimited(
                f"This question may take {tokens:,} tokens of the language model, and not as many "
                f"are left of {_said(buckets)} in a minute.",
                remedy="Wait as long as Retry-After says, or have the quota raised.",
                retry_after=wait / _SECOND,
            )
        return TokensTaken(
            tokens, tuple((b.name, b.limit, *mark) for b, mark in zip(buckets, marks, strict=True))
        )

    def correct_tokens(self, taken: TokensTaken, used: int) -> None:
        beyond = used - taken.tokens
        if not beyond:
            return
        table, part = self._begin()
        try:
            now = self._now()
            for name, limit, *mark in taken.marks:
                (bucket,) = _parted([self._bucket(name, limit)], part)
                if beyond > 0:
                    table.charge(bucket, beyond, now)
                else:
                    table.give_back(bucket, used, Mark(*mark), now)
        finally:
            self._end(table)

    def standing(self, principal: Principal) -> RateLimits | None:
        requests = self._requests_of(principal)
        tokens = self._tokens_of(principal)
        if not requests and not tokens:
            return None
        table = self._own if self._alone or self._shared is None else self._shared.peek()
        part = self._shared.processes if self._alone and self._shared is not None else 1
        now = self._now()
        return RateLimits(
            _tightest(_parted(requests, part), table, now),
            _tightest(_parted(tokens, part), table, now),
        )

    def _requests_of(self, principal: Principal) -> Sequence[Bucket]:
        return self._buckets(
            "requests", principal.key_id, principal.requests_per_minute, principal.tenant
        )

    def _tokens_of(self, principal: Principal) -> Sequence[Bucket]:
        return self._buckets(
            "tokens", principal.key_id, principal.tokens_per_minute, principal.tenant
        )

    def _find_buckets(
        self, unit: Unit, key_id: str | None, of_key: int | None, tenant: str
    ) -> Sequence[Bucket]:
        limits, found = self._limits, []
        if unit == "requests":
            default, of_tenant = limits.key_requests, limits.tenant_requests
        else:
            default, of_tenant = limits.key_tokens, limits.tenant_tokens
        if key_id is not None and (limit := default if of_key is None else of_key):
            found.append(self._bucket(f"{unit} of key {key_id}", limit))
        if of_tenant:
            found.append(self._bucket(f"{unit} of tenant {tenant}", of_tenant))
        return found

    def _take_one(self, buckets: Sequence[Bucket]) -> int:
        """As `_take` of one unit."""
        table, part = self._begin()
        try:
            return table.take_one(_parted(buckets, part), self._now())
        finally:
            self._end(table)

    def _take(self, buckets: Sequence[Bucket], units: int) -> tuple[int, list[Mark]]:
        """From all of them, or from none: then how long it would have to wait."""
        table, part = self._begin()
        try:
            return table.take(_parted(buckets, part), units, self._now())
        finally:
            self._end(table)

    def _begin(self) -> tuple[BucketTable, int]:
        """A table, for oneself until `_end`, and among how many the limits are divided."""
        if self._shared is None:
            return self._own, 1
        try:
            table = self._shared.begin()
        except TableUnavailable:
            if self._shared.key != self._key:
                self._key = self._shared.key
                self._buckets.cache_clear()
            if not self._alone:
                _log.warning("quotas are counted by each process for itself")
            self._alone = True
            return self._own, self._shared.processes
        self._alone = False
        return table, 1

    def _end(self, table: BucketTable) -> None:
        if self._shared is not None and table is not self._own:
            self._shared.end()

    def _now(self) -> int:
        return int(self._clock.monotonic() * _SECOND)

    def _bucket(self, name: str, limit: int) -> Bucket:
        """Its hash is keyed, so that nobody can choose names that meet, and never 0."""
        named = name.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(named, digest_size=8, key=self._key).digest()
        return Bucket(name, int.from_bytes(digest, "little") >> 1 or 1, limit)


def _parted(buckets: Sequence[Bucket], part: int) -> Sequence[Bucket]:
    """With one process's part of each limit, where `part` of them do not know of each other."""
    if part == 1:
        return buckets
    return [bucket._replace(limit=max(1, bucket.limit // part)) for bucket in buckets]


def _said(buckets: Sequence[Bucket]) -> str:
    """The limits in words: `60 requests of key key_1 or 600 requests of tenant acme`."""
    return " or ".join(f"{bucket.limit:,} {bucket.name}" for bucket in buckets)


def _tightest(buckets: Sequence[Bucket], table: BucketTable, now: int) -> RateLimit | None:
    """The one with the fewest units left."""
    found: RateLimit | None = None
    for bucket in buckets:
        used = table.used(bucket, now)
        left = max(0, MINUTE - used) * bucket.limit // MINUTE
        if found is None or left < found.remaining:
            found = RateLimit(bucket.limit, left, math.ceil(used / 1e6) / 1e3)
    return found

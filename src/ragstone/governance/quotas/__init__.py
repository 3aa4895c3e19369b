"""Requests and tokens in a minute, for each key and each tenant."""

from ragstone.governance.quotas.minute import MinuteLimits, MinuteQuotas
from ragstone.governance.quotas.shared import SharedBuckets

__all__ = ["MinuteLimits", "MinuteQuotas", "SharedBuckets"]

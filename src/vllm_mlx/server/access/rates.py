"""How many requests a minute one caller may send: a token bucket each."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.core.errors import Overloaded
from vllm_mlx.server.access.keys import caller, is_public
from vllm_mlx.server.errors import ErrorResponses
from vllm_mlx.server.middleware import HttpMiddleware

_MINUTE_S = 60.0
_MAX_CALLERS = 10_000
"""More at a time are forgotten, the longest silent first: the table must not grow with the callers."""


class TokenBuckets:
    """A full bucket holds a minute's requests, so that many may follow at once; it fills evenly.

    Args:
        per_minute: requests a minute for each caller.
    """

    def __init__(self, per_minute: int, clock: Clock = system_clock) -> None:
        self._capacity = float(per_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at which time

    def take(self, caller: str) -> float:
        """Take a token; returns 0, or the seconds until there is one."""
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - since) * self._capacity / _MINUTE_S)
        granted = tokens >= 1.0
        self._buckets[caller] = (tokens - 1.0 if granted else tokens, now)
        if len(self._buckets) > _MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1.0 - tokens) * _MINUTE_S / self._capacity


class RateLimit(HttpMiddleware):
    """ASGI middleware that answers 429 to a caller who asks too often; /health is not counted."""

    def __init__(self, app: ASGIApp, buckets: TokenBuckets, errors: ErrorResponses) -> None:
        super().__init__(app)
        self._buckets = buckets
        self._errors = errors

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429 with the time to wait."""
        wait_s = 0.0 if is_public(scope) else self._buckets.take(_network(caller(scope)))
        if not wait_s:
            await self._app(scope, receive, send)
            return
        error = Overloaded(
            "Too many requests: this server has a limit for each caller.",
            retry_after_s=wait_s,
            code="rate_limit_exceeded",
        )
        await self._errors.refuse(error, scope, receive, send)


def _network(caller: str) -> str:
    """One customer of IPv6 has a /64 of addresses and would else have as many buckets."""
    if ":" not in caller:
        return caller
    try:
        address = ipaddress.IPv6Address(caller.partition("%")[0])
    except ValueError:
        return caller
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))

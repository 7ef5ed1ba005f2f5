"""The middleware in front of the routes, put together from the settings; outermost first."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from vllm_mlx.config import AccessConfig, ServerConfig
from vllm_mlx.server.access.browsers import Guard, is_loopback, local_names
from vllm_mlx.server.access.keys import KeyRing, RequireKey
from vllm_mlx.server.access.log import RequestLog
from vllm_mlx.server.access.rates import RateLimit, TokenBuckets
from vllm_mlx.server.errors import ErrorResponses
from vllm_mlx.server.limits import RequestLimits

_METHODS = ("GET", "HEAD", "POST", "DELETE")
_SHOWN_HEADERS = ("x-request-id", "request-id", "retry-after")


def middleware(server: ServerConfig, access: AccessConfig, errors: ErrorResponses) -> list[Middleware]:
    """Who may ask is decided before how often, and that before how much."""
    keyless = not access.api_key
    # Whoever knows a key is no stray web page; a server for the network has names that we cannot know.
    checks_hosts = bool(access.allowed_hosts) or (keyless and is_loopback(server.host))
    checks_origins = bool(access.allowed_origins) or keyless
    origins = [origin.lower() for origin in access.allowed_origins]
    stack = [
        Middleware(RequestLog, errors=errors, enabled=access.access_log),
        Middleware(
            Guard,
            hosts=local_names(access.allowed_hosts) if checks_hosts else None,
            origins=origins if checks_origins else None,
            errors=errors,
        ),
    ]
    if origins:
        # Before the keys: a browser's preflight carries none. Never with credentials: there are no cookies.
        stack.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=_METHODS,
                allow_headers=("*",),
                expose_headers=_SHOWN_HEADERS,
            )
        )
    if access.api_key:
        stack.append(Middleware(RequireKey, keys=KeyRing(access.api_key), errors=errors))
    if access.rate_limit:
        stack.append(Middleware(RateLimit, buckets=TokenBuckets(access.rate_limit), errors=errors))
    max_body_bytes = int(server.max_body_mb * 1024 * 1024)
    return [*stack, Middleware(RequestLimits, max_body_bytes=max_body_bytes, errors=errors)]


def exposure(server: ServerConfig, access: AccessConfig) -> str | None:
    """What to tell an operator whose server is open to the network without a key."""
    if access.api_key or is_loopback(server.host):
        return None
    return (
        f"{server.host} is reachable from other machines and there is no --api-key: anybody there can use it"
    )

"""API keys: without one of them only /health answers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_mlx.core.errors import AuthenticationFailed
from vllm_mlx.server.callers import CALLER
from vllm_mlx.server.errors import ErrorResponses
from vllm_mlx.server.middleware import HttpMiddleware

PUBLIC_PATH = b"/health"
"""As it stands on the wire. Everything else needs a key, whatever a router would make of it."""

_MISSING = "Give an API key, as `Authorization: Bearer KEY` or as `x-api-key: KEY`."
_WRONG = "The API key is not one of this server's."

Headers = Iterable[tuple[bytes, bytes]]


class KeyRing:
    """The keys, as digests: what is compared has one length, and the keys themselves are not kept.

    Args:
        keys: at least one.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def caller(self, headers: Headers) -> str:
        """A name for the key that a request shows: part of its digest.

        One of the two headers must be right. Where it comes twice (sglang-router adds its own to the
        client's) both must be: what stands before this server may have read either.

        Raises:
            AuthenticationFailed: no key, or none of ours.
        """
        bearers, keys = _shown(headers)
        if not bearers and not keys:
            raise AuthenticationFailed(_MISSING)
        for shown in (bearers, keys):
            names = [self._name(key) for key in shown]
            if names and all(names):
                return names[0]
        raise AuthenticationFailed(_WRONG)

    def _name(self, key: bytes) -> str:
        """The name of a key; empty if it is not one of ours."""
        digest, found = _digest(key), False
        for ours in self._digests:  # all of them, so that the time tells nothing
            found |= hmac.compare_digest(ours, digest)
        return digest.hex()[:16] if found else ""


class RequireKey(HttpMiddleware):
    """ASGI middleware that lets nobody past without a key, except to `PUBLIC_PATH`.

    It reads the raw path: no decoding, no `..`, no Host header can make another route look public.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, errors: ErrorResponses) -> None:
        super().__init__(app)
        self._keys = keys
        self._errors = errors

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if not is_public(scope):
            try:
                scope[CALLER] = f"key {self._keys.caller(scope['headers'])}"
            except AuthenticationFailed as error:
                headers = {"www-authenticate": "Bearer"}
                await self._errors.refuse(error, scope, receive, send, headers=headers)
                return
        await self._app(scope, receive, send)


def is_public(scope: Scope) -> bool:
    """Whether the request is for the one path that is open to all."""
    return bool(scope.get("raw_path") == PUBLIC_PATH)


def caller(scope: Scope) -> str:
    """Who asks: a name for the key, or the client's address where none is needed."""
    client = scope.get("client")
    return str(scope.get(CALLER) or (client[0] if client else "unknown"))


def _shown(headers: Headers) -> tuple[list[bytes], list[bytes]]:
    """The credentials of `authorization` (b"" where the scheme is another) and of `x-api-key`."""
    bearers, keys = [], []
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.strip().partition(b" ")
            bearers.append(rest.strip() if scheme.lower() == b"bearer" else b"")
        elif name == b"x-api-key":
            keys.append(value.strip())
    return bearers, keys


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()

"""Keeps web pages out that a browser on this machine may show: by the Host and the Origin they betray.

A page can send requests to 127.0.0.1, and after DNS rebinding even read the answers. The Host header then has
the page's name, and each request that can change anything has the page's origin, JSON or not.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_mlx.core.errors import PermissionDenied
from vllm_mlx.server.errors import ErrorResponses
from vllm_mlx.server.middleware import HttpMiddleware

ANY = "*"
_LOCAL_NAMES = ("localhost", "host.docker.internal")
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_PROGRAMS = ("app://", "file://", "tauri://", "vscode-file://", "vscode-webview://")
"""Origins of desktop programs; no web site can have one."""


class Guard(HttpMiddleware):
    """ASGI middleware that answers 403 to a foreign Host or Origin.

    Args:
        hosts: the names it answers to; None does not look at them.
        origins: the origins let in besides the server's own pages; None does not look at them.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] | None,
        origins: Collection[str] | None,
        errors: ErrorResponses,
    ) -> None:
        super().__init__(app)
        self._hosts = _open(hosts)
        self._origins = _open(origins)
        self._errors = errors

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        try:
            self._check(scope["headers"])
        except PermissionDenied as error:
            await self._errors.refuse(error, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        host, origins = "", []
        for name, value in headers:
            if name == b"host":
                host = value.decode("latin-1").lower()
            elif name == b"origin":
                origins.append(value.decode("latin-1").lower())
        if self._hosts is not None and not _is_among(host, self._hosts):
            raise PermissionDenied(
                "This Host name is not one this server answers to; --allowed-hosts adds names.",
                code="host_not_allowed",
            )
        allowed = self._origins
        if allowed is not None and not all(_is_let_in(origin, host, allowed) for origin in origins):
            raise PermissionDenied(
                "Web pages of this origin may not use this server; --allowed-origins adds origins.",
                code="origin_not_allowed",
            )


def is_loopback(host: str) -> bool:
    """Whether an address to bind is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def local_names(extra: Iterable[str]) -> frozenset[str]:
    """The names of this machine, without ports, and `extra` ones."""
    machine = socket.gethostname().lower()
    return frozenset({*_LOCAL_NAMES, machine, machine.partition(".")[0], *(name.lower() for name in extra)})


def _open(names: Collection[str] | None) -> Collection[str] | None:
    return None if names is None or ANY in names else names


def _is_among(host: str, names: Collection[str]) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].removesuffix(".")
    return name in names or is_loopback(name.strip("[]"))


def _is_let_in(origin: str, host: str, origins: Collection[str]) -> bool:
    if origin in origins or origin.startswith(_PROGRAMS):
        return True
    scheme, _, rest = origin.partition("://")
    return scheme in ("http", "https") and rest == host

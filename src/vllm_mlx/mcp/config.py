"""The file of MCP servers, in the form that desktop clients share: read, checked, its variables filled in."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import quote, urlsplit

import msgspec

from vllm_mlx.mcp.commands import inline_code
from vllm_mlx.mcp.policy import APPROVAL_MODES, NOTHING_APPROVED, Approval
from vllm_mlx.mcp.tools import tool_prefix

Transport = Literal["stdio", "http", "sse"]

MAX_SERVERS = 64
MAX_FILE_BYTES = 1024 * 1024
MAX_RESULT_BYTES = 8 * 1024 * 1024
MAX_SECONDS = 3600.0
_MAX_NAME_CHARS = 64

_TRANSPORTS: dict[str, Transport] = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamablehttp": "http",
    "sse": "sse",
}
_KEYS = {
    "command": "command",
    "args": "args",
    "env": "env",
    "cwd": "cwd",
    "url": "url",
    "headers": "headers",
    "type": "type",
    "transport": "type",
    "disabled": "disabled",
    "enabled": "enabled",
    "timeout": "timeout",
    "connect_timeout": "connect_timeout",
    "max_result_bytes": "max_result_bytes",
    "allowed_tools": "allowed_tools",
    "approval": "approval",
    "auto_approve": "auto_approve",
    "always_allow": "auto_approve",
    "allow_inline_code": "allow_inline_code",
    "description": "description",
}
"""Key of a server's entry, in snake case, to what it is; other programs' names lead to ours."""

_FOR_STDIO = ("command", "args", "env", "cwd", "allow_inline_code")
_FOR_URL = ("url", "headers")
_ELSEWHERE = {
    "max_tool_calls": "use the flag --mcp-max-turns",
    "allowed_high_risk_tools": "use `approval` of the server that has the tool",
}
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z-]*\s+(\S.*)", re.DOTALL)


class BadMcpConfig(Exception):
    """The file cannot be used; the text is one line for the person who wrote it, and holds no value of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """One server to connect to.

    Attributes:
        name: as the file has it.
        prefix: the name as it opens the names of its tools; unique.
        command: program and arguments, for `stdio`. No shell reads them.
        env: variables that the process gets besides a few harmless ones.
        url, headers: for `http` (streamable HTTP) and `sse` (what came before it).
        connect_timeout_s: from the start until the tools are listed.
        timeout_s: of one call.
        max_result_bytes: most UTF-8 bytes of a result that are handed on.
        allowed_tools: the only tools that exist for us; None for all.
        approval: which of them may run because the model asked.
        substituted: values of our environment that were filled in.
    """

    name: str
    prefix: str
    transport: Transport
    command: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = field(default=None, repr=False)
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    disabled: bool = False
    connect_timeout_s: float = 30.0
    timeout_s: float = 60.0
    max_result_bytes: int = 64 * 1024
    allowed_tools: frozenset[str] | None = None
    approval: Approval = NOTHING_APPROVED
    substituted: frozenset[str] = field(default=frozenset(), repr=False)

    def tools_named(self) -> list[str]:
        """The tools that the entry names, to be allowed or approved."""
        return sorted((self.allowed_tools or frozenset()) | self.approval.tools)

    def secrets(self) -> tuple[str, ...]:
        """Values of the configuration that no log may repeat, as programs may write them."""
        values = {*self.env.values(), *self.headers.values(), *self.substituted}
        # `Bearer T` holds the secret T, and a key of many lines is written line by line.
        values |= {found[1] for value in self.headers.values() if (found := _SCHEME.fullmatch(value))}
        values |= {line.strip() for value in values for line in value.splitlines()}
        return tuple({spelled for value in values if len(value) >= 6 for spelled in _spellings(value)})


def _spellings(secret: str) -> set[str]:
    """As it is, in a text of Python's or JSON's, and in an address."""
    quoted = [quote(secret, safe=safe, errors="surrogateescape") for safe in ("", "/", " ")]
    texts = [json.dumps(secret, ensure_ascii=ascii) for ascii in (False, True)] + [repr(secret)]
    escaped = secret.encode("unicode_escape").decode()
    spelled = {secret, escaped, *quoted, quoted[2].replace(" ", "+"), *(text[1:-1] for text in texts)}
    return spelled | {text.replace("/", "\\/") for text in spelled}


def read_config(file: Path, environment: Mapping[str, str]) -> tuple[McpServer, ...]:
    """The servers of a file: JSON, or YAML where its name ends so.

    `${NAME}` and `${NAME:-fallback}` in a value of `command`, `args`, `env`, `cwd`, `url` or `headers` stand
    for a variable of `environment`; nothing else is taken from there. Paths are relative to the file.

    Raises:
        BadMcpConfig: the file cannot be read, or an entry cannot be used.
    """
    content = _content(file)
    both = [key for key in ("mcpServers", "servers") if key in content]
    if len(both) != 1:
        raise BadMcpConfig(f"{file} must have one key `mcpServers` with the servers")
    for key, remedy in _ELSEWHERE.items():
        if key in content:
            raise BadMcpConfig(f"{file}: {key} is not a setting here: {remedy}")
    entries = content[both[0]]
    if not isinstance(entries, dict) or len(entries) > MAX_SERVERS:
        raise BadMcpConfig(f"{file}: {both[0]} must map up to {MAX_SERVERS} names to servers")
    timeout = content.get("default_timeout")
    servers = tuple(
        _Entry(file, str(name), entry, environment).read(timeout) for name, entry in entries.items()
    )
    owners: dict[str, str] = {}
    for server in servers:
        other = owners.setdefault(server.prefix, server.name)
        if other != server.name:
            raise BadMcpConfig(f"{file}: the tools of {other} and {server.name} would have the same names")
    return servers


def _content(file: Path) -> dict[str, Any]:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise BadMcpConfig(f"cannot read {file}: {error.strerror}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise BadMcpConfig(f"{file} is larger than {MAX_FILE_BYTES} bytes")
    is_yaml = file.suffix.lower() in (".yaml", ".yml")
    try:
        content = msgspec.yaml.decode(raw) if is_yaml else msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise BadMcpConfig(f"{file} is not valid {'YAML' if is_yaml else 'JSON'}") from None
    if not isinstance(content, dict):
        raise BadMcpConfig(f"{file} must have one key `mcpServers` with the servers")
    return content


class _Entry:
    """One server's entry while it is read."""

    def __init__(self, file: Path, name: str, entry: Any, environment: Mapping[str, str]) -> None:
        self._file = file
        self._name = name
        self._environment = environment
        self._values: dict[str, Any] = {}
        self._substituted: set[str] = set()
        prefix = tool_prefix(name)
        if not prefix or len(name) > _MAX_NAME_CHARS:
            raise BadMcpConfig(f"{file}: a server's name needs letters or digits, {_MAX_NAME_CHARS} at most")
        self._prefix = prefix
        if not isinstance(entry, dict):
            self._refuse("must be an object")
        for key, value in entry.items():
            known = _KEYS.get(_snake(str(key)))
            if known is None:
                close = difflib.get_close_matches(_snake(str(key)), _KEYS, 1)
                shown = str(key)[:40]
                self._refuse(f"has no setting {shown}" + (f"; did you mean {close[0]}?" if close else ""))
            if known in self._values:
                self._refuse(f"gives {known} twice")
            self._values[known] = value

    def read(self, default_timeout: Any) -> McpServer:
        transport = self._transport()
        for key in _FOR_URL if transport == "stdio" else _FOR_STDIO:
            if key in self._values:
                self._refuse(f"has `{key}`, which a server of type {transport} has no use for")
        if default_timeout is not None:
            self._values.setdefault("timeout", default_timeout)
        # Whichever of the two switches it off counts: nothing is started by a contradiction.
        disabled = self._flag("disabled", default=False) or not self._flag("enabled", default=True)
        # What is switched off may name variables that are not set.
        expand = not disabled
        return McpServer(
            name=self._name,
            prefix=self._prefix,
            transport=transport,
            command=self._command(expand) if transport == "stdio" else (),
            env=self._texts("env", expand),
            cwd=self._cwd(expand),
            url=self._url(expand) if transport != "stdio" else "",
            headers=self._headers(expand),
            disabled=disabled,
            connect_timeout_s=self._number("connect_timeout", 30.0, MAX_SECONDS),
            timeout_s=self._number("timeout", 60.0, MAX_SECONDS),
            max_result_bytes=int(self._number("max_result_bytes", 64 * 1024, MAX_RESULT_BYTES)),
            allowed_tools=self._names("allowed_tools"),
            approval=self._approval(),
            # Last: whatever is filled in above is among them.
            substituted=frozenset(self._substituted),
        )

    def _transport(self) -> Transport:
        given = self._values.get("type")
        if given is None:
            if ("command" in self._values) == ("url" in self._values):
                self._refuse("needs either `command` or `url`")
            return "stdio" if "command" in self._values else "http"
        transport = _TRANSPORTS.get(str(given).lower())
        if transport is None:
            self._refuse("type must be stdio, http or sse")
        return transport

    def _command(self, expand: bool) -> tuple[str, ...]:
        command, args = self._values.get("command"), self._values.get("args", [])
        if not isinstance(command, str) or not command.strip():
            self._refuse("needs `command`, the name of a program")
        if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
            self._refuse("args must be a list of texts")
        words = tuple(self._filled(word, expand) for word in (command, *args))
        if any("\0" in word for word in words):
            self._refuse("command and args must hold no zero byte")
        found = inline_code(words)
        if found is not None and not self._flag("allow_inline_code", default=False):
            self._refuse(
                f"gives inline code to {found}, which is refused; use a file, or set allow_inline_code"
            )
        return words

    def _cwd(self, expand: bool) -> str | None:
        cwd = self._values.get("cwd")
        if cwd is None:
            return None
        if not isinstance(cwd, str):
            self._refuse("cwd must be a path")
        return str(self._file.parent / Path(self._filled(cwd, expand)).expanduser())

    def _url(self, expand: bool) -> str:
        url = self._values.get("url")
        if not isinstance(url, str):
            self._refuse("needs `url`")
        url = self._filled(url, expand)
        if not expand:
            return url
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            self._refuse("url must be an http or https address")
        if parts.username is not None or parts.password is not None:
            self._refuse("url must hold no name or password; use headers")
        return url

    def _headers(self, expand: bool) -> dict[str, str]:
        headers = self._texts("headers", expand)
        if any(re.search(r"[\r\n\0]", name + value) for name, value in headers.items()):
            self._refuse("headers must hold no line break")
        return headers

    def _texts(self, key: str, expand: bool) -> dict[str, str]:
        given = self._values.get(key, {})
        if not isinstance(given, dict) or not all(
            isinstance(name, str) and isinstance(value, str | int | float) for name, value in given.items()
        ):
            self._refuse(f"{key} must map names to texts")
        return {name: self._filled(str(value), expand) for name, value in given.items()}

    def _approval(self) -> Approval:
        listed, given = self._names("auto_approve"), self._values.get("approval")
        if listed is not None and given is not None:
            self._refuse("gives both approval and a list of approved tools")
        if given is None:
            return NOTHING_APPROVED if not listed else Approval("listed", listed)
        if isinstance(given, list):
            return Approval("listed", self._names("approval") or frozenset())
        if given not in APPROVAL_MODES:
            self._refuse(f"approval must be {', '.join(APPROVAL_MODES)}, or a list of tools")
        return Approval(given)

    def _names(self, key: str) -> frozenset[str] | None:
        given = self._values.get(key)
        if given is None:
            return None
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            self._refuse(f"{key} must be a list of tools")
        return frozenset(given)

    def _flag(self, key: str, *, default: bool) -> bool:
        given = self._values.get(key, default)
        if not isinstance(given, bool):
            self._refuse(f"{key} must be true or false")
        return given

    def _number(self, key: str, default: float, most: float) -> float:
        given = self._values.get(key, default)
        if (
            isinstance(given, bool)
            or not isinstance(given, int | float)
            or not (math.isfinite(given) and 0 < given <= most)
        ):
            self._refuse(f"{key} must be a number above 0, at most {most:g}")
        return float(given)

    def _filled(self, text: str, expand: bool) -> str:
        return _VARIABLE.sub(self._variable, text) if expand else text

    def _variable(self, found: re.Match[str]) -> str:
        name, fallback = found.groups()
        value = self._environment.get(name)
        if fallback is not None:
            return self._secret(value) if value else fallback  # as a shell has `:-`
        if value is None:
            self._refuse(f"names the variable {name}, which is not set")
        return self._secret(value)

    def _secret(self, value: str) -> str:
        self._substituted.add(value)
        return value

    def _refuse(self, problem: str) -> NoReturn:
        raise BadMcpConfig(f"{self._file}: server {self._name} {problem}")


def _snake(key: str) -> str:
    """`autoApprove` is `auto_approve`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).replace("-", "_").lower()

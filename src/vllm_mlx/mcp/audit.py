"""One line in the log for each execution, with what looks like a secret taken out."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("vllm_mlx.mcp.audit")

HIDDEN = "***"
_MAX_TEXT_CHARS = 80
_MAX_ITEMS = 8
_MAX_LINE_CHARS = 600

_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credential|authori[sz]ation"
    r"|cookie|bearer|session|signature|^(auth|key|pin|otp|pwd)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?:bearer|basic)\s+\S+"
    r"|\b(?:sk|pk|rk|ghp|gho|ghs|ghu|glpat|xox[a-z]|hf|npm|pypi|AKIA|ASIA|AIza)[-_]?[A-Za-z0-9_-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)*"
    r"|(?<=://)[^/@\s]+:[^/@\s]+(?=@)"
    r"|(?<=[?&])(?:key|token|sig|signature|password|secret|api_key|access_token)=[^&\s]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution, when it is over.

    Attributes:
        caller: who asked: `route` or `loop`.
        outcome: `ok`, `tool_error`, `cancelled`, or the code of the error.
        secrets: texts that are hidden wherever they stand.
    """

    server: str
    tool: str
    caller: str
    outcome: str
    duration_ms: float
    result_bytes: int
    arguments: Any
    secrets: tuple[str, ...]


def record(execution: Execution) -> None:
    """Write the line. Every value is JSON, so that none can begin a line of its own."""
    shown = _json(redacted(execution.arguments, execution.secrets))
    log.info(
        "execution server=%s tool=%s caller=%s outcome=%s duration_ms=%.1f result_bytes=%d arguments=%s",
        _json(execution.server),
        _json(execution.tool[:_MAX_TEXT_CHARS]),
        execution.caller,
        execution.outcome,
        execution.duration_ms,
        execution.result_bytes,
        shown if len(shown) <= _MAX_LINE_CHARS else shown[:_MAX_LINE_CHARS] + "...",
    )


def _json(value: Any) -> str:
    """ASCII: no line separator or control character of any kind is left."""
    return json.dumps(value)


def redacted(value: Any, secrets: tuple[str, ...] = (), depth: int = 0) -> Any:
    """The value with secrets hidden, and cut to what a line can hold."""
    if isinstance(value, str):
        return _text(value, secrets)
    if depth > 3 and isinstance(value, dict | list):
        return "..."
    if isinstance(value, dict):
        shown = {
            _text(str(key), secrets): HIDDEN
            if _SECRET_KEY.search(str(key))
            else redacted(one, secrets, depth + 1)
            for key, one in list(value.items())[:_MAX_ITEMS]
        }
        return shown | ({"...": len(value) - _MAX_ITEMS} if len(value) > _MAX_ITEMS else {})
    if isinstance(value, list):
        items = [redacted(one, secrets, depth + 1) for one in value[:_MAX_ITEMS]]
        return items + (["..."] if len(value) > _MAX_ITEMS else [])
    return value


def _text(text: str, secrets: tuple[str, ...]) -> str:
    # A secret could lie across the cut: it is looked for in more than is shown.
    seen = text[: 64 * _MAX_TEXT_CHARS]
    for secret in secrets:
        seen = seen.replace(secret, HIDDEN)
    seen = _SECRET_TEXT.sub(HIDDEN, seen)
    return seen if len(seen) <= _MAX_TEXT_CHARS else seen[:_MAX_TEXT_CHARS] + "..."

"""One line in the log for each execution, with what looks like a secret taken out."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from vllm_mlx.mcp.redaction import MAX_TEXT_CHARS, redacted

log = logging.getLogger("vllm_mlx.mcp.audit")

_MAX_LINE_CHARS = 600


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
        _json(execution.tool[:MAX_TEXT_CHARS]),
        execution.caller,
        execution.outcome,
        execution.duration_ms,
        execution.result_bytes,
        shown if len(shown) <= _MAX_LINE_CHARS else shown[:_MAX_LINE_CHARS] + "...",
    )


def _json(value: Any) -> str:
    """ASCII: no line separator or control character of any kind is left."""
    return json.dumps(value)

"""What every answer of the OpenAI dialect carries: id, time, model, usage; and the frames of its stream."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from vllm_mlx import __version__
from vllm_mlx.core.chance import fresh_hex
from vllm_mlx.core.events import Timings, Usage
from vllm_mlx.server import sse
from vllm_mlx.server.openai.wire import (
    CompletionTokensDetails,
    CompletionUsage,
    Metrics,
    PromptTokensDetails,
)

FINGERPRINT = f"vllm-mlx-{__version__}"

to_json = msgspec.json.Encoder().encode


class UsageChunk(msgspec.Struct, frozen=True):
    """The account at the end."""

    usage: Usage
    timings: Timings

    def fields(self) -> dict[str, Any]:
        """`usage` and `metrics`."""
        usage = self.usage
        return {
            "usage": CompletionUsage(
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.prompt_tokens + usage.completion_tokens,
                PromptTokensDetails(usage.cached_tokens),
                CompletionTokensDetails(usage.reasoning_tokens),
            ),
            "metrics": Metrics(
                self.timings.time_to_first_token_ms,
                self.timings.generation_time_ms,
                self._tokens_per_second(),
            ),
        }

    def _tokens_per_second(self) -> float | None:
        """How fast tokens followed the first one; None if none did."""
        following, generation_ms = self.usage.completion_tokens - 1, self.timings.generation_time_ms
        return following * 1e3 / generation_ms if following > 0 and generation_ms > 0 else None


class Envelope:
    """The constant fields of one answer.

    Args:
        prefix: of the id, `chatcmpl` or `cmpl`.
        model: the served model's id.
        tier: the request named a tier, so that the answer names the one it got.
    """

    def __init__(self, prefix: str, model: str, *, tier: bool = False) -> None:
        self.id = f"{prefix}-{fresh_hex()}"
        self._created = int(time.time())
        self._model = model
        self._tier = {"service_tier": "default"} if tier else {}

    def fields(self, kind: str) -> dict[str, Any]:
        """The fields as they open an answer of the given `object` kind."""
        return {
            "id": self.id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": FINGERPRINT,
            **self._tier,
        }


class Framer:
    """Frames of one stream: the constant part is rendered once, a chunk adds its choice.

    Args:
        usage: the stream ends with a usage chunk, and the others say `"usage": null`, as OpenAI's do.
    """

    def __init__(self, envelope: Envelope, kind: str, *, usage: bool) -> None:
        self._fields = envelope.fields(kind)
        self._head = sse.DATA + to_json(self._fields)[:-1] + b',"choices":['
        self._tail = (b'],"usage":null}' if usage else b"]}") + sse.END
        self._usage = usage

    def choice(self, choice: bytes) -> bytes:
        """The frame of one choice's piece, given as a JSON object."""
        return self._head + choice + self._tail

    def usage(self, chunk: UsageChunk) -> bytes:
        """The frame of the account; empty if the client did not ask."""
        if not self._usage:
            return b""
        return sse.frame(to_json(self._fields | {"choices": []} | chunk.fields()))

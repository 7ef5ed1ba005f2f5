"""Request fields that chat and text completions share, with OpenAI's names and vLLM's for the extras."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from vllm_mlx.core.sampling import MAX_LOGIT_BIAS
from vllm_mlx.core.structure import MAX_VALUES
from vllm_mlx.server.body import FirstErrorOnly, WirePart
from vllm_mlx.server.openai.constraint_schema import ConstraintFields

Strings = Annotated[list[str], FirstErrorOnly()]
Integers = Annotated[list[int], FirstErrorOnly(), Field(max_length=MAX_VALUES)]


class StreamOptions(WirePart):
    """What a stream says besides its text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(None, description="accepted; nothing is added to hide lengths")


class GenerationFields(ConstraintFields):
    """Model, sampling, form of the answer and limits.

    `null` means "not given" everywhere; ranges are checked by the core.
    """

    model: str | None = Field(
        None, description="the served name, `default`, or any name if one model is served"
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | Strings | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, Any] | None = Field(
        None, max_length=MAX_LOGIT_BIAS, description="token id, as a string, to an addend"
    )
    user: str | None = Field(None, description="accepted and not used")

    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    stop_token_ids: Integers | None = None
    ignore_eos: bool | None = None
    priority: int | None = Field(None, description="smaller runs first")
    cache_salt: str | None = Field(None, description="prompts with different salts share no cached prefix")
    timeout: float | None = Field(None, description="seconds until the request is given up")

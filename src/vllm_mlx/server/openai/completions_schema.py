"""What POST /v1/completions accepts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vllm_mlx.server.body import FirstErrorOnly
from vllm_mlx.server.openai.generation_schema import GenerationFields, Integers, Strings

TokenLists = Annotated[list[Integers], FirstErrorOnly()]


class CompletionRequest(GenerationFields):
    """The body of POST /v1/completions."""

    prompt: str | Strings | Integers | TokenLists = Field(
        description="a text, token ids, or a list of either; a list is answered together"
    )
    echo: bool | None = None
    logprobs: int | None = Field(None, description="alternatives to report beside each token")
    best_of: int | None = Field(None, description="refused unless it equals n")
    suffix: str | None = Field(None, description="refused")

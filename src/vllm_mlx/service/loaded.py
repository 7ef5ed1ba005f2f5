"""A model ready to serve: its text side, its engine, and what applies where a request is silent."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.engine.client import EngineClient, EngineInfo
from vllm_mlx.parsing.detect import Chosen
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.service.constrain import Constrainer
from vllm_mlx.service.judge import CallJudge
from vllm_mlx.service.port import ModelCard
from vllm_mlx.service.prompt import PromptBuilder


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationLimits:
    """Caps in tokens and seconds.

    Attributes:
        max_tokens: output tokens where the request does not say (fewer if the context ends before).
        max_request_tokens: most that a request may ask for; None for as much as fits.
        thinking_tokens: most tokens of thought where the request does not say; None for no bound.
        timeout_s: for requests without a time limit of their own, and the most those may ask for.
    """

    max_tokens: int
    max_request_tokens: int | None
    timeout_s: float
    thinking_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """Everything a request needs. Immutable, so that requests cannot hurt each other through it."""

    card: ModelCard
    tokenizer: Tokenizer
    prompts: PromptBuilder
    constrainer: Constrainer
    judge: CallJudge
    chosen: Chosen
    engine: EngineClient
    info: EngineInfo
    defaults: SamplingParams
    eos_ids: tuple[int, ...]
    limits: GenerationLimits

    @property
    def output_format(self) -> OutputFormat:
        """How the model marks its thoughts and calls."""
        return self.chosen.format

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt and output of one request may have together."""
        return min(self.info.max_model_len, self.info.kv_capacity_tokens)

    def status(self) -> dict[str, object]:
        """What `/v1/status` shows of the model."""
        return {
            "max_model_len": self.info.max_model_len,
            "max_num_seqs": self.info.max_num_seqs,
            "kv_capacity_tokens": self.info.kv_capacity_tokens,
            "output_format": self.output_format.name,
            "tool_call_parser": dict(zip(("name", "chosen_by"), self.chosen.tools, strict=True)),
            "reasoning_parser": dict(zip(("name", "chosen_by"), self.chosen.reasoning, strict=True)),
            "tool_calls": self.judge.counts(),
            "runner": msgspec.to_builtins(self.info.path),
            "engine": msgspec.to_builtins(self.engine.stats()),
            "engine_health": msgspec.to_builtins(self.engine.health()),
        }

    async def aclose(self) -> None:
        """Stop the engine and the text threads."""
        await self.engine.aclose()
        self.prompts.close()
        self.constrainer.close()
        await self.judge.aclose()

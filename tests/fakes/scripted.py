"""A runner that says what a script tells it: the real service, engine and scheduler over known tokens.

Tests of every dialect use it to see exact text, tool calls and reasoning without a model.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.chat_tokenizer import save_text_side
from tests.fakes.runner import ruled_out
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.config import Config, EngineConfig, ModelConfig
from vllm_mlx.core.stats import ModelPath
from vllm_mlx.runners.base import (
    Capabilities,
    Logprob,
    Row,
    Runner,
    SampledToken,
    StepPlan,
    StepResult,
    TokenMask,
    do_nothing,
)
from vllm_mlx.service.build import build_service
from vllm_mlx.service.hub import Hub


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say to a prompt whose text holds all of `when`; then end, or go on for ever if `endless`."""

    text: str
    when: str | Sequence[str] = ""
    endless: bool = False

    def suits(self, prompt: str) -> bool:
        return all(part in prompt for part in ([self.when] if isinstance(self.when, str) else self.when))


def load_script(path: Path) -> list[Answer]:
    """Read a script file.

    It is a JSON list of objects, tried in order against the rendered prompt. Each has `text`, what the
    model writes, markup included ("<think>...</think>", "<tool_call>...</tool_call>"), and maybe

    * `when`: the entry answers prompts that hold this text, or each text of a list; without it, all of them;
    * `endless`: true repeats the text until something stops it.

    A prompt that no entry answers gets an empty text.
    """
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [Answer(**entry) for entry in entries]


@dataclass(frozen=True, slots=True)
class ScriptedStep:
    """A step of rows whose next tokens are known when it is submitted."""

    result: StepResult
    drawn: dict[int, tuple[SampledToken, tuple[int, ...]]]  # and what is banned
    vocab_size: int

    def sample(self, mask: TokenMask | None) -> None:
        """The script's tokens where they are allowed, else the first that is."""
        for seq_id, (token, banned_ids) in self.drawn.items():
            never = {*banned_ids, *ruled_out(mask, seq_id, self.vocab_size)}
            said = token.token_id
            if said in never:
                said = next((i for i in range(self.vocab_size) if i not in never), said)
            logprob = token.logprob and Logprob(said, token.logprob.logprob)
            self.result.sampled[seq_id] = SampledToken(said, logprob)

    def peek(self) -> dict[int, int]:
        return {}  # masks decide what is said only with `sample`

    def read(self) -> StepResult:
        return self.result


def scripted_service(
    folder: Path,
    answers: Sequence[Answer],
    *,
    context: int = 131_072,
    engine: EngineConfig | None = None,
    model: ModelConfig | None = None,
    pieces: Sequence[str] | None = None,
) -> Hub:
    """The real service over a script.

    Args:
        folder: gets a tokenizer and a config; it names the model.
        model: settings of the model, which must name the folder.
        pieces: see `save_chat_tokenizer`.
    """
    save_text_side(folder, pieces=pieces)
    tokenizer = Tokenizer.load(folder)
    return build_service(
        Config(model=model or ModelConfig(model=str(folder)), engine=engine or EngineConfig()),
        runner_factory=lambda: ScriptedRunner(tokenizer, answers, context=context),
    )


class ScriptedRunner(Runner):
    """Answers each prompt with the first script entry whose `when` occurs in it.

    Which token comes next depends on the row alone, so batches, preemption and chunking cannot change it.
    The reported log-probability of each output token is minus its place in the answer, that of a prompt
    token is made of its id; there are no alternatives.
    """

    def __init__(self, tokenizer: Tokenizer, answers: Sequence[Answer], *, context: int = 131_072) -> None:
        self._tokenizer = tokenizer
        self._answers = [(a, tokenizer.encode(a.text, add_special_tokens=False)) for a in answers]
        (self._eos_id,) = tokenizer.eos_ids
        self._chosen: dict[int, tuple[Answer, list[int]]] = {}  # by sequence
        self._capabilities = Capabilities(
            vocab_size=tokenizer.vocab_size,
            max_model_len=context,
            block_size=16,
            num_blocks=4 * context // 16 + 1,
            max_rows=64,
            prefix_reuse=True,
            path=ModelPath(path="paged", reason="scripted"),
            fingerprint=f"scripted-{zlib.crc32(repr(answers).encode())}",
            overlap=True,
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> ScriptedStep:
        starting()
        result, drawn = StepResult(), {}
        for row in plan.rows:
            if row.prompt_logprobs is not None:
                following = [
                    *row.token_ids[1:],
                    *([] if row.next_prompt_id is None else [row.next_prompt_id]),
                ]
                result.prompt_logprobs[row.seq_id] = [Logprob(i, -i / 1000) for i in following]
            if row.sampling is not None:
                said = row.sampling.position - len(row.sampling.prompt_ids)
                token_id = self._next(row, list(row.sampling.prompt_ids), said)
                wanted = row.sampling.params.logprobs is not None
                logprob = Logprob(token_id, -float(said)) if wanted else None
                drawn[row.seq_id] = SampledToken(token_id, logprob), row.sampling.banned_ids
        step = ScriptedStep(result, drawn, self._capabilities.vocab_size)
        if not plan.waits:
            step.sample(None)
        return step

    def forget(self, seq_ids: Sequence[int]) -> None:
        for seq_id in seq_ids:
            self._chosen.pop(seq_id, None)

    def close(self) -> None:
        """Nothing is held."""

    def _next(self, row: Row, prompt_ids: list[int], said: int) -> int:
        if row.seq_id not in self._chosen:
            self._chosen[row.seq_id] = self._choose(self._tokenizer.decode(prompt_ids))
        answer, ids = self._chosen[row.seq_id]
        if answer.endless:
            return ids[said % len(ids)]
        return ids[said] if said < len(ids) else self._eos_id

    def _choose(self, prompt: str) -> tuple[Answer, list[int]]:
        return next((each for each in self._answers if each[0].suits(prompt)), (Answer(""), []))

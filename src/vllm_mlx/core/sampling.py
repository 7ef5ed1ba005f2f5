"""How to pick tokens: one frozen value, validated once, that every dialect, `LLM` and the engine share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from vllm_mlx.core.errors import InvalidRequest

MAX_CHOICES = 128
MAX_STOP_STRINGS = 64
MAX_STOP_CHARS = 4096
MAX_TOP_LOGPROBS = 20
MAX_LOGIT_BIAS = 4096
MAX_SEED = 2**63 - 1


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sampling settings; `None` means "the model's default".

    Attributes:
        temperature: 0 is greedy; applied before the filters, as vLLM does.
        top_p: nucleus mass in (0, 1].
        top_k: keep the k likeliest tokens; 0 or -1 keeps all.
        min_p: drop tokens below this share of the likeliest one's probability, in [0, 1].
        repetition_penalty: above 0; divides positive and multiplies negative logits of tokens that occur
            in prompt or output (Keskar et al. 2019, CTRL).
        presence_penalty: in [-2, 2]; subtracted once for each token that occurs in the output (OpenAI).
        frequency_penalty: in [-2, 2]; subtracted for each occurrence in the output (OpenAI).
        logit_bias: token id to an addend in [-100, 100].
        seed: makes the text reproducible, whatever else the batch holds. None: the server draws one.
        max_tokens: most tokens to generate a choice; 0 only reads the prompt (to score it).
        min_tokens: end-of-text and stop ids cannot be sampled before so many tokens.
        stop: the text ends before the first of these strings (one may stand alone); it is never shown.
        stop_token_ids: ids that end the text, beside the model's own.
        ignore_eos: the model's own end-of-text ids do not end it.
        n: independent choices for the one prompt.
        logprobs: None for none, else how many alternatives to report beside each chosen token (0 to 20).
        prompt_logprobs: the same for the tokens of the prompt.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] | None = None
    seed: int | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):  # else its letters would be the stop strings
            msgspec.structs.force_setattr(self, "stop", (self.stop,))
        for name, kind, noun in _CONTAINERS:
            if not isinstance(getattr(self, name), kind):
                raise InvalidRequest(f"{name} must be {noun}", param=name)
        _in_range("temperature", self.temperature, 0.0, 100.0)
        _in_range("top_p", self.top_p, 0.0, 1.0, open_low=True)
        _whole("top_k", self.top_k, -1, 2**31 - 1)
        _in_range("min_p", self.min_p, 0.0, 1.0)
        _in_range("repetition_penalty", self.repetition_penalty, 0.0, 100.0, open_low=True)
        _in_range("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _in_range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _whole("seed", self.seed, -MAX_SEED - 1, MAX_SEED)
        _whole("max_tokens", self.max_tokens, 0, 2**31 - 1)
        _whole("min_tokens", self.min_tokens, 0, 2**31 - 1)
        _whole("n", self.n, 1, MAX_CHOICES)
        _whole("logprobs", self.logprobs, 0, MAX_TOP_LOGPROBS)
        _whole("prompt_logprobs", self.prompt_logprobs, 0, MAX_TOP_LOGPROBS)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequest("min_tokens must not be above max_tokens", param="min_tokens")
        self._check_stops()
        self._check_logit_bias()

    def _check_stops(self) -> None:
        if len(self.stop) > MAX_STOP_STRINGS or len(self.stop_token_ids) > MAX_STOP_STRINGS:
            raise InvalidRequest(f"at most {MAX_STOP_STRINGS} stop sequences are allowed", param="stop")
        for text in self.stop:
            if not isinstance(text, str) or not text or len(text) > MAX_STOP_CHARS:
                raise InvalidRequest(
                    f"each stop sequence must be a string of 1 to {MAX_STOP_CHARS} characters", param="stop"
                )
        for token_id in self.stop_token_ids:
            _whole("stop_token_ids", token_id, 0, 2**31 - 1)

    def _check_logit_bias(self) -> None:
        bias = self.logit_bias or {}
        if len(bias) > MAX_LOGIT_BIAS:
            raise InvalidRequest(f"logit_bias may hold at most {MAX_LOGIT_BIAS} tokens", param="logit_bias")
        for token_id, addend in bias.items():
            _whole("logit_bias", token_id, 0, 2**31 - 1)
            _in_range("logit_bias", addend, -100.0, 100.0)

    def resolve(self, defaults: SamplingParams) -> SamplingParams:
        """The same settings with every missing one taken from `defaults`."""
        missing: dict[str, Any] = {
            name: getattr(defaults, name) for name in _DEFAULTED if getattr(self, name) is None
        }
        return msgspec.structs.replace(self, **missing)


_CONTAINERS: tuple[tuple[str, Any, str], ...] = (
    ("stop", list | tuple, "a string or several"),
    ("stop_token_ids", list | tuple, "a list of token ids"),
    ("logit_bias", Mapping | None, "a mapping of token ids to addends"),
    ("ignore_eos", bool, "true or false"),
)

_DEFAULTED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "max_tokens",
)


def _in_range(name: str, value: float | None, low: float, high: float, *, open_low: bool = False) -> None:
    if value is None:
        return
    # An int is finite however long; isfinite() would overflow on it.
    if isinstance(value, bool) or not (
        isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    ):
        raise InvalidRequest(f"{name} must be a finite number", param=name)
    if value < low or value > high or (open_low and value == low):
        bracket = "(" if open_low else "["
        raise InvalidRequest(f"{name} must be in {bracket}{low:g}, {high:g}]", param=name)


def _whole(name: str, value: int | None, low: int, high: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{name} must be an integer", param=name)
    if not low <= value <= high:
        raise InvalidRequest(f"{name} must be between {low} and {high}", param=name)


# At the end, because building one validates it with the functions above.
NEUTRAL = SamplingParams(
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    repetition_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
)
"""What applies where neither request, command line nor model says otherwise (OpenAI's defaults)."""

"""What a row of a step brings to sampling and what it gets back: plain values that every layer may hold."""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from vllm_mlx.core.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class RowSampling:
    """What sampling needs to know of a row.

    The lists are the sequence's own: read, never written, and only while the step is being submitted, since
    they grow once the step before is read.

    Attributes:
        seed, choice: with the position they make the row's random key, so that its text does not depend
            on its batch mates.
        prompt_ids, output_ids: for penalties; `output_ids` ends with the token before the sampled one, or,
            with `num_unread`, earlier.
        banned_ids: ids that must not be sampled now (end-of-text before `min_tokens`).
        waits: its token may be sampled only once it is known what the token before it was, and so what may
            follow; see `TokenMask`.
        num_unread: 1 if the token before the sampled one is still on the device, as the one that the step
            before this sampled for the sequence; else 0.
    """

    params: SamplingParams
    seed: int
    choice: int
    prompt_ids: SequenceOf[int]
    output_ids: SequenceOf[int]
    banned_ids: tuple[int, ...] = ()
    num_unread: int = 0
    waits: bool = False

    @property
    def position(self) -> int:
        """The position of the token to be sampled, in prompt and output together."""
        return len(self.prompt_ids) + len(self.output_ids) + self.num_unread


@dataclass(frozen=True, slots=True)
class TokenMask:
    """What some sequences may sample; those that it does not name may sample anything.

    Attributes:
        seq_ids: R of them.
        bits: (R, W) of unsigned 32-bit words; bit i % 32 of word i // 32 is set where token i is allowed. The
            words cover the vocabulary, and maybe more.
        names: R of them. Rows of one name, of this mask and of every other one of the same engine, have the
            same bits.
    """

    seq_ids: tuple[int, ...]
    bits: memoryview
    names: tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Logprob:
    """A token's log-probability under the model's own distribution (before penalties, bias, temperature)."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SampledToken:
    """The token sampled for a row, with its log-probability where the row asked for it."""

    token_id: int
    logprob: Logprob | None = None


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row that cannot go on, while its batch mates can; `reason` is one plain sentence for the caller."""

    reason: str

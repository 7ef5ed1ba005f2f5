"""What the scheduler knows of a request and of each of its choices; only the scheduler writes here."""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from vllm_mlx.core.events import FinishReason
from vllm_mlx.core.spelling import Spelling
from vllm_mlx.core.steps import SampledToken
from vllm_mlx.engine.wire import EngineRequest, RawLogprob, TokenOutput
from vllm_mlx.kvcache.manager import BlockTable
from vllm_mlx.structured.gate import Gate, Matcher


class Status(Enum):
    """Where a sequence stands.

    Only a running one holds blocks, and an ended one until the last step that it was part of is applied.
    """

    HELD = auto()  # waits until choice 0 has computed the prompt they share
    WAITING = auto()
    RUNNING = auto()
    ENDED = auto()


@dataclass(slots=True, eq=False)
class RequestState:
    """One request in flight.

    Attributes:
        arrival: counts up with each request.
        deadline_s: on the scheduler's clock; infinite for none.
        end_ids: ids that end the text.
        max_output: most tokens a choice may generate: the caller's limit and the context's.
        admitted: whether any of it has ever run.
        cached_tokens: prompt tokens found in the cache when choice 0 first ran.
        prompt_logprobs: grows with choice 0's prefill; None when not asked for or already delivered.
    """

    request: EngineRequest
    arrival: int
    deadline_s: float
    end_ids: tuple[int, ...]
    max_output: int
    admitted: bool = False
    cached_tokens: int = 0
    prompt_logprobs: list[RawLogprob] | None = None
    sequences: list[Sequence] = field(default_factory=list)

    @classmethod
    def of(
        cls, request: EngineRequest, arrival: int, now_s: float, room: int, vocab_size: int
    ) -> RequestState:
        """A request that arrived just now, without its choices.

        Args:
            room: most tokens of output that the context has room for.
        """
        sampling = request.sampling
        end_ids = dict.fromkeys((*request.eos_ids, *sampling.stop_token_ids))
        return cls(
            request=request,
            arrival=arrival,
            deadline_s=math.inf if request.timeout_s is None else now_s + request.timeout_s,
            end_ids=tuple(i for i in end_ids if 0 <= i < vocab_size),
            max_output=room if sampling.max_tokens is None else min(sampling.max_tokens, room),
            prompt_logprobs=None if sampling.prompt_logprobs is None else [],
        )

    def add(self, seq_id: int, choice: int, table: BlockTable, spelling: Spelling | None = None) -> Sequence:
        """One more choice."""
        seq = Sequence(seq_id, self, choice, table, list(self.request.prompt_ids))
        if self.request.thinking is not None and self.request.grammar is None:
            seq.open_gate(None, spelling)
        self.sequences.append(seq)
        return seq

    @property
    def ended(self) -> bool:
        """Whether every choice is over."""
        return all(seq.status is Status.ENDED for seq in self.sequences)


@dataclass(slots=True, eq=False)
class Sequence:
    """One choice of one request.

    Attributes:
        seq_id: never used again.
        token_ids: prompt and output, as far as they were read.
        output_ids: the output alone.
        num_computed: leading tokens whose KV is in the pool.
        num_in_flight: tokens after those whose KV is computed by steps that are not applied yet.
        num_unread: tokens after `token_ids` that steps in flight sample; only the last may be unknown to
            the device, too.
        steps_in_flight: submitted steps that it is part of and that are not applied yet.
        num_void: how many of these, the oldest first, will bring nothing that is of use.
        num_confirmed_output: output tokens that surely belong to the text, so that blocks with them may be
            named; with stop strings the front tells, while the text grows.
        waits_for: name of the block that a running sequence computes and this one wants to share.
        num_passed_over: steps in a row that had nothing for it while its prompt was to be read.
        gate: what it may say next, by its grammar and the rules of its thought; None if anything.
        ends_by_grammar: whether its grammar lets nothing follow the output.
        looked_up: whether the cache was asked for its prompt before (a resume is not counted again).
    """

    seq_id: int
    state: RequestState
    choice: int
    table: BlockTable
    token_ids: list[int]
    output_ids: list[int] = field(default_factory=list)
    num_computed: int = 0
    num_in_flight: int = 0
    num_unread: int = 0
    steps_in_flight: int = 0
    num_void: int = 0
    num_confirmed_output: int = 0
    status: Status = Status.WAITING
    waits_for: bytes | None = None
    num_passed_over: int = 0
    looked_up: bool = False
    gate: Gate | None = None
    ends_by_grammar: bool = False

    @property
    def request_id(self) -> str:
        return self.state.request.request_id

    @property
    def num_prompt(self) -> int:
        return len(self.state.request.prompt_ids)

    @property
    def num_tokens(self) -> int:
        """Length of the text with all that steps in flight add."""
        return len(self.token_ids) + self.num_unread

    @property
    def num_submitted(self) -> int:
        """Leading tokens whose KV is computed or being computed."""
        return self.num_computed + self.num_in_flight

    @property
    def num_missing(self) -> int:
        """Tokens whose KV must still be computed by later steps; 1 means that it decodes."""
        return len(self.token_ids) + self.num_unread - self.num_computed - self.num_in_flight

    @property
    def is_full(self) -> bool:
        """Whether it surely ends with the token that is in flight."""
        return self.num_unread > 0 and len(self.output_ids) + self.num_unread >= self.state.max_output

    @property
    def num_nameable(self) -> int:
        """Leading tokens whose blocks may be named."""
        return min(self.num_computed, self.num_prompt + self.num_confirmed_output)

    def depart(self, num_tokens: int, *, samples: bool) -> None:
        """It is part of a step that computes its next tokens."""
        self.num_in_flight += num_tokens
        self.num_unread += samples
        self.steps_in_flight += 1

    def arrive(self, num_tokens: int, *, sampled: bool) -> None:
        """What its oldest step in flight computed is there and of use."""
        self.num_in_flight -= num_tokens
        self.num_computed += num_tokens
        self.num_unread -= sampled

    def void(self) -> None:
        """Nothing that is in flight for it is of use."""
        self.num_in_flight = self.num_unread = 0
        self.num_void = self.steps_in_flight

    def open_gate(self, matcher: Matcher | None, spelling: Spelling | None) -> None:
        """Let it say only what its grammar and the rules of its thought allow."""
        self.gate = Gate(matcher, self.state.request.thinking, self.state.end_ids, spelling)

    def append(self, token_id: int) -> FinishReason | None:
        """Take in the next token of the output; why it ends the text, if it does.

        Raises:
            AppError: see `Gate.take`.
        """
        self.token_ids.append(token_id)
        self.output_ids.append(token_id)
        if token_id in self.state.end_ids:
            return "stop"
        if self.gate is not None:
            self.gate.take(token_id)
            self.ends_by_grammar = self.gate.finished
            if self.ends_by_grammar:
                return None  # the text ends, but not by this token
        return "length" if len(self.output_ids) >= self.state.max_output else None

    def confirm(self, num_tokens: int) -> None:
        """So many more tokens of the output belong to the text."""
        self.num_confirmed_output = min(self.num_confirmed_output + num_tokens, len(self.output_ids))

    def output(self, sampled: SampledToken | None, finish: FinishReason | None) -> TokenOutput:
        """What there is to tell of its next token; the prompt's log-probabilities with the first one."""
        state, prompt_logprobs = self.state, None
        if self.reports_prompt:
            prompt_logprobs, state.prompt_logprobs = state.prompt_logprobs, None
        return TokenOutput(
            request_id=self.request_id,
            choice=self.choice,
            token_ids=[] if sampled is None else [sampled.token_id],
            logprobs=[] if sampled is None or sampled.logprob is None else [RawLogprob.of(sampled.logprob)],
            finish=finish,
            cached_tokens=state.cached_tokens,
            prompt_logprobs=prompt_logprobs,
        )

    @property
    def front_confirms(self) -> bool:
        """Whether the text may end (at a stop string) before the engine knows."""
        return bool(self.state.request.sampling.stop)

    @property
    def reports_prompt(self) -> bool:
        """Whether its prefill must bring the prompt's log-probabilities, and so must compute all of it."""
        return self.choice == 0 and self.state.prompt_logprobs is not None


def check_books(
    states: Collection[RequestState],
    running: set[Sequence],
    waiting: list[Sequence],
    ranked: list[Sequence],
    leaving: Container[Sequence],
    computing: Iterable[Sequence],
    num_queued: int,
) -> None:
    """Raise AssertionError unless all sequences are where their status says, and no one else holds blocks.

    Args:
        ranked: those who wait, as they should stand.
        leaving: those who ended and are part of a step in flight.
        computing: from whom blocks are awaited.
        num_queued: requests of which nothing ever ran.
    """
    standing: dict[Status, set[Sequence]] = {status: set() for status in Status}
    for seq in (seq for state in states for seq in state.sequences):
        standing[seq.status].add(seq)
        if seq.status is not Status.RUNNING and seq.table.block_ids and seq not in leaving:
            raise AssertionError("a sequence that does not run holds blocks")
    if standing[Status.RUNNING] != running:
        raise AssertionError("running sequences differ from those in flight")
    if standing[Status.WAITING] != set(waiting):
        raise AssertionError("waiting sequences differ from those in flight")
    if waiting != ranked:
        raise AssertionError("waiting sequences are out of order")
    if any(owner.status is not Status.RUNNING for owner in computing):
        raise AssertionError("a block is awaited from a sequence that does not run")
    if num_queued != sum(not state.admitted for state in states):
        raise AssertionError("the queue is miscounted")

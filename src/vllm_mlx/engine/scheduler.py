"""Decides what each step computes, and turns what it computed into outputs."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import count

from vllm_mlx.config import CacheConfig, EngineConfig
from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.core.errors import (
    AppError,
    ContextOverflow,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    Overloaded,
    Unavailable,
)
from vllm_mlx.core.events import FinishReason
from vllm_mlx.core.stats import EngineStats, Tally
from vllm_mlx.engine.draft import Draft
from vllm_mlx.engine.flight import Flight
from vllm_mlx.engine.pacing import Pacer
from vllm_mlx.engine.policy import Reading, check_ids, outranked, rank, readers_of, share_out, victim
from vllm_mlx.engine.sequence import RequestState, Sequence, Status, check_books
from vllm_mlx.engine.wire import Abort, Confirm, EngineRequest, RawLogprob, TokenOutput
from vllm_mlx.kvcache.manager import KVCacheManager
from vllm_mlx.runners.base import Capabilities, Logprob, Row, SampledToken, StepPlan, StepResult, TokenMask
from vllm_mlx.structured.compiling import Grammars, Waiting
from vllm_mlx.structured.masks import Masks, Tokens

_OUT_OF_MEMORY = "the text no longer fits the KV cache, which holds {} tokens"
_TIMED_OUT = "the request did not finish within its time limit of {:g} s"


class Scheduler:
    """Continuous batching over one pool of KV blocks. Synchronous, and reads time only through `clock`.

    A step is `plan()`, its execution elsewhere, `apply()`. The next `plan()` may come before `apply()`: it
    counts on what is in flight, tokens that no one has read among it. Whatever turns out to end a sequence
    then makes its part of the later step void; its blocks are free once that step is applied, too. What
    needs certainty (to preempt, or to give up for lack of blocks) waits until nothing is in flight. Steps
    are applied in the order of their plans. At any time requests may be submitted and aborted.

    A plan takes the sequences that decode first (one token each), then admits who waits, in order of
    priority and arrival, then shares what tokens and time the step has left among the prompts to be read.
    All blocks for the tokens known so far are reserved when a sequence is admitted, so only decoding can run
    out of blocks; then the sequence that ranks last gives its blocks back and later computes prompt and
    output again, or finds them in the cache.

    Progress: every step has at least one token for one of the prompts (a block of them where the budget has
    as many), because no more sequences run than the budget has tokens, and prompts of equal priority take
    turns; only a newcomer of better priority can preempt or for ever delay one.
    """

    def __init__(
        self,
        capabilities: Capabilities,
        engine: EngineConfig,
        cache: CacheConfig,
        clock: Clock = system_clock,
        grammars: Grammars | None = None,
    ) -> None:
        self._config = engine
        self._clock = clock
        self._vocab_size = capabilities.vocab_size
        self._cache = KVCacheManager(
            num_blocks=capabilities.num_blocks,
            block_size=capabilities.block_size,
            fingerprint=capabilities.fingerprint,
            prefix_reuse=capabilities.prefix_reuse and cache.enable_prefix_cache,
        )
        limit = engine.max_model_len
        self.max_model_len = (
            capabilities.max_model_len if limit is None else min(limit, capabilities.max_model_len)
        )
        self._step_tokens = engine.max_num_batched_tokens or capabilities.step_tokens
        self._reading = Reading(
            engine.prefill_step_size or capabilities.chunk_tokens, engine.prefill_batch_size
        )
        self.max_running = max(1, min(engine.max_num_seqs, capabilities.max_rows, self._step_tokens))
        # A model that runs one sequence at a time cannot put it aside: its cache is the model's own.
        self._preempts_for_priority = capabilities.max_rows > 1
        self._requests: dict[str, RequestState] = {}
        self._running: dict[int, Sequence] = {}
        self._waiting: list[Sequence] = []  # by rank
        self._computing: dict[bytes, Sequence] = {}  # prompt blocks on their way into the cache
        self._in_flight = Flight(on_left=self._release)
        self._waiting_grammars = Waiting(grammars)
        self._masks = Masks(capabilities.vocab_size)
        self._pacer = Pacer(engine.max_itl_ms, capabilities.block_size)
        self._settles_first = False  # plan nothing until nothing is in flight
        self._num_queued = 0  # requests of which nothing ever ran
        self._next_deadline_s = math.inf  # no deadline is earlier
        self._arrivals = count()
        self._seq_ids = count()
        self._outputs: list[TokenOutput] = []
        self._forgotten: list[int] = []
        self._draining = False
        self._tally = Tally()

    # ---- what the outside asks for ----

    @property
    def has_work(self) -> bool:
        """Whether there is something to plan, to apply or to tell."""
        return bool(self._requests or self._outputs or self._in_flight)

    @property
    def waits_for_grammars(self) -> bool:
        """Whether some request waits for its grammar to be compiled."""
        return bool(self._waiting_grammars)

    @property
    def kv_capacity_tokens(self) -> int:
        """Tokens that the pool holds."""
        return self._cache.capacity_tokens

    def submit(self, request: EngineRequest) -> None:
        """Queue a request.

        Raises:
            InvalidRequest: no prompt, an id outside the vocabulary, or an id of a request in flight.
            InvalidGrammar: it has a grammar that cannot even be compiled.
            ContextOverflow: the prompt leaves no room for a token.
            Overloaded: the queue is full.
            Unavailable: `drain` was called.
        """
        self._check_request(request)
        if request.grammar is not None:
            self._waiting_grammars.ask(request.request_id, request.grammar)
        room = self.max_model_len - len(request.prompt_ids)
        state = RequestState.of(request, next(self._arrivals), self._clock(), room, self._vocab_size)
        for choice in range(request.sampling.n):
            table = self._cache.new_table(request.cache_salt)
            seq = state.add(next(self._seq_ids), choice, table, self._waiting_grammars.spelling)
            if choice > 0 and self._cache.prefix_reuse:
                seq.status = Status.HELD
            else:
                insort(self._waiting, seq, key=rank)
        self._requests[request.request_id] = state
        self._num_queued += 1
        self._next_deadline_s = min(self._next_deadline_s, state.deadline_s)

    def abort(self, abort: Abort) -> None:
        """End a request or one choice at once and without an output; unknown ids are ignored."""
        state = self._requests.get(abort.request_id)
        if state is None:
            return
        for seq in state.sequences:
            if abort.choice in (None, seq.choice) and seq.status is not Status.ENDED:
                self._end(seq)
        self._settle(state, finished=abort.choice is not None)

    def confirm(self, confirm: Confirm) -> None:
        """Take it that more of a choice's output belongs to its text; what is over is only counted."""
        self._tally.generated_tokens += confirm.num_tokens
        state = self._requests.get(confirm.request_id)
        for seq in state.sequences if state is not None else ():
            if seq.choice == confirm.choice and seq.status is not Status.ENDED:
                seq.confirm(confirm.num_tokens)
                if seq.status is Status.RUNNING:
                    self._commit(seq)

    def fail(self, request_id: str, error: AppError) -> None:
        """End a request with an error output; unknown ids are ignored."""
        state = self._requests.get(request_id)
        if state is None:
            return
        for seq in state.sequences:
            if seq.status is not Status.ENDED:
                self._end(seq)
        self._tally.failed_requests += 1
        self._settle(state, finished=False)
        self._outputs.append(TokenOutput.of_error(request_id, error))

    def close(self) -> None:
        """End the threads that fill masks, and begin to compile no more grammars."""
        self._masks.close()
        self._waiting_grammars.close()

    def drain(self) -> None:
        """Take no more requests; those in flight go on."""
        self._draining = True

    def plan(self) -> StepPlan | None:
        """The next step; None when there is none before what is in flight is applied.

        With nothing in flight None means that no request is left (look at `take_outputs`), or only such as
        wait for their grammars.
        """
        self._expire()
        self._hear_of_grammars()
        if self._settles_first and self._in_flight:
            return None
        self._settles_first = False
        draft = Draft(self._step_tokens)
        by_rank = sorted(self._running.values(), key=rank)
        for seq in by_rank:
            if seq.num_missing == 1 and not seq.is_full and seq.status is Status.RUNNING and self._grow(seq):
                draft.add(seq, 1)
        pace = self._pacer.step(len(draft), max((seq.num_tokens for seq in draft.sequences), default=0))
        self._admit_waiting(draft)
        share_out(draft, self._running.values(), pace, self._reading)
        if not draft:
            return None
        self._tally.steps += 1
        self._tally.largest_batch = max(self._tally.largest_batch, len(draft))
        return self._in_flight.depart(draft, self._cache.block_size)

    def looking_ahead(self, plan: StepPlan, tokens: Tokens) -> AbstractContextManager[Callable[[], None]]:
        """Give what begins to find out, until the end, what rows may sample after the tokens on their way."""
        return self._masks.looking_ahead(self._in_flight.unread_gates(plan), tokens)

    def mask(self, plan: StepPlan) -> TokenMask | None:
        """What the rows of the newest step may sample, all earlier ones being applied; None for anything.

        A request that can say nothing, or whose grammar is too slow or complex to tell, ends with an error.
        """
        mask, failed = self._masks.fill(self._in_flight.gates(plan))
        for seq_id, error in failed.items():
            if seq_id in self._running:  # not if another choice of its request failed just now
                self.fail(self._running[seq_id].request_id, error)
        return mask

    def apply(self, plan: StepPlan, result: StepResult, seconds: float = 0.0) -> None:
        """Take in what the oldest step in flight computed, and how long it took (0: not known)."""
        self._pacer.observe(plan, seconds)
        for row, seq in self._in_flight.land(plan):
            if row.seq_id in result.failed:
                self.fail(seq.request_id, InternalError(result.failed[row.seq_id]))
            else:
                self._take_in(seq, row, result)

    def retract(self) -> None:
        """Forget all steps in flight: they failed, and what they compute will be planned again."""
        self._in_flight.retract()

    def take_outputs(self) -> list[TokenOutput]:
        """What there is to tell since the last call: of steps that were applied, and errors."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def take_forgotten(self) -> list[int]:
        """Ids of the sequences that ended or were preempted since the last call.

        The runner must hear of them before it executes the next plan: a preempted sequence may be in it.
        """
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def stats(self) -> EngineStats:
        """The counts now."""
        return self._tally.stats(
            running=len(self._running), waiting=len(self._waiting), cache=self._cache.stats()
        )

    def check(self) -> None:
        """Raise AssertionError if the books do not agree with each other (for tests)."""
        states, running = self._requests.values(), set(self._running.values())
        leaving, computing = self._in_flight.leaving, self._computing.values()
        self._cache.check(seq.table for seq in {*(s for state in states for s in state.sequences), *leaving})
        self._in_flight.check(running)
        ranked = sorted(self._waiting, key=rank)
        check_books(states, running, self._waiting, ranked, leaving, computing, self._num_queued)
        if len(running) > self.max_running:
            raise AssertionError("too many sequences run")

    # ---- planning ----

    def _check_request(self, request: EngineRequest) -> None:
        if self._draining:
            raise Unavailable("the engine takes no more requests")
        if request.request_id in self._requests:
            raise InvalidRequest("a request with this id is already in flight", param="request_id")
        answer = 0 if request.sampling.max_tokens == 0 else 1  # the least that must fit beside the prompt
        limit = min(self.max_model_len - answer, self._cache.capacity_tokens)
        check_ids(request, vocab_size=self._vocab_size, limit=limit)
        # Whoever a step could take at once does not count as waiting.
        if self._num_queued >= self._config.max_queue + max(0, self.max_running - len(self._running)):
            raise Overloaded("too many requests are waiting; try again later")

    def _expire(self) -> None:
        now = self._clock()
        if now < self._next_deadline_s:
            return
        for state in [each for each in self._requests.values() if each.deadline_s <= now]:
            limit_s = state.request.timeout_s or 0.0
            self.fail(state.request.request_id, DeadlineExceeded(_TIMED_OUT.format(limit_s)))
        self._next_deadline_s = min((each.deadline_s for each in self._requests.values()), default=math.inf)

    def _hear_of_grammars(self) -> None:
        for request_id, grammar in self._waiting_grammars.news():
            if isinstance(grammar, AppError):
                self.fail(request_id, grammar)
                continue
            for i, seq in enumerate(self._requests[request_id].sequences):
                seq.open_gate(grammar.copy() if i else grammar, self._waiting_grammars.spelling)

    def _grow(self, seq: Sequence) -> bool:
        """Reserve room for the token to compute; False if the sequence must wait, give way or fail."""
        while not self._cache.reserve(seq.table, seq.num_tokens):
            if self._in_flight:
                self._settles_first = True
                return False
            if self._fails_to_fit(seq):
                return False
            last = victim(self._running.values())
            self._preempt(last)
            if last is seq:
                return False
        return True

    def _fails_to_fit(self, seq: Sequence) -> bool:
        """End a sequence that even the whole pool could not hold."""
        fits = len(seq.token_ids) <= self.kv_capacity_tokens
        if not fits:
            self.fail(seq.request_id, ContextOverflow(_OUT_OF_MEMORY.format(self.kv_capacity_tokens)))
        return not fits

    def _admit_waiting(self, draft: Draft) -> None:
        """Let in as many as the budget would serve were time no matter, so that the short pass the long."""
        most = self._reading.most
        room = draft.budget_tokens - sum(min(s.num_missing, most) for s in readers_of(self._running.values()))
        for seq in tuple(self._waiting):
            if room < 1:
                return
            if seq.status is not Status.WAITING or self._fails_to_fit(seq):
                continue  # its request failed with an earlier choice, or just now
            if seq.waits_for in self._computing or seq.request_id in self._waiting_grammars:
                continue
            prefix = [] if seq.reports_prompt else self._cache.match(seq.table, seq.token_ids)
            if self._can_share_soon(seq, len(prefix)):
                continue
            if not self._make_room(draft, seq, prefix):
                return  # in order: a small request does not pass a large one
            self._admit(seq, prefix)
            room -= min(seq.num_missing, most)
            if seq.num_missing == 1:
                draft.add(seq, 1)

    def _can_share_soon(self, seq: Sequence, matched: int) -> bool:
        """Whether a running sequence computes the prompt block that this one needs next.

        That one holds its blocks and advances, or leaves and takes its promises with it, so waiting for
        it cannot last for ever.
        """
        seq.waits_for = None
        names = [] if seq.reports_prompt else self._cache.shareable(seq.table, seq.token_ids, seq.num_prompt)
        if matched < len(names) and names[matched] in self._computing:
            seq.waits_for = names[matched]
            return True
        return False

    def _make_room(self, draft: Draft, seq: Sequence, prefix: list[int]) -> bool:
        """A slot and blocks for a waiting sequence, preempting worse priorities if that is enough."""
        missing = self._cache.blocks_for(len(seq.token_ids)) - len(prefix)
        if len(self._running) < self.max_running and self._cache.fits(missing, prefix):
            return True
        worse = outranked(self._running.values(), seq) if self._preempts_for_priority else []
        if not worse or not self._cache.fits(missing, prefix, [other.table for other in worse]):
            return False
        if self._in_flight:
            self._settles_first = True
            return False
        for other in worse:
            draft.drop(other)
            self._preempt(other)
            if len(self._running) < self.max_running and self._cache.fits(missing, prefix):
                return True
        return False

    def _admit(self, seq: Sequence, prefix: list[int]) -> None:
        if not self._cache.reserve(seq.table, len(seq.token_ids), prefix):
            raise AssertionError("room was made but cannot be reserved")
        seq.num_computed = len(prefix) * self._cache.block_size
        self._waiting.remove(seq)
        seq.status = Status.RUNNING
        self._running[seq.seq_id] = seq
        for name in self._cache.shareable(seq.table, seq.token_ids, seq.num_prompt)[len(prefix) :]:
            self._computing.setdefault(name, seq)
        state = seq.state
        if not state.admitted:
            state.admitted = True
            self._num_queued -= 1
            self._tally.prompt_tokens += seq.num_prompt
        if not seq.looked_up:
            seq.looked_up = True
            if seq.choice == 0:
                state.cached_tokens = seq.num_computed
            if not seq.reports_prompt and self._cache.prefix_reuse:
                self._cache.count_query(seq.num_prompt, seq.num_computed)

    # ---- taking results in ----

    def _take_in(self, seq: Sequence, row: Row, result: StepResult) -> None:
        self._take_in_computed(seq, row, result.prompt_logprobs.get(row.seq_id, ()))
        if row.sampling is None:
            if seq.num_computed == len(seq.token_ids):  # it only wanted its prompt read
                self._tell(seq, None, "length")
            return
        sampled = result.sampled.get(row.seq_id)
        if sampled is None:
            self.fail(seq.request_id, InternalError("the model gave no token"))
            return
        if row.seq_id in result.redrawn:
            seq.void()
        self._take_in_sampled(seq, sampled)

    def _take_in_computed(self, seq: Sequence, row: Row, prompt_logprobs: Iterable[Logprob]) -> None:
        self._commit(seq)
        collected = seq.state.prompt_logprobs
        if seq.reports_prompt and collected is not None:
            if not collected:
                collected.append(RawLogprob(seq.token_ids[0], None))
            collected.extend(map(RawLogprob.of, prompt_logprobs))
        if seq.choice == 0 and row.start < seq.num_prompt <= seq.num_computed:
            self._release_siblings(seq.state)

    def _take_in_sampled(self, seq: Sequence, sampled: SampledToken) -> None:
        try:
            finish = seq.append(sampled.token_id)
        except AppError as error:
            self.fail(seq.request_id, error)
            return
        if not seq.front_confirms:
            seq.confirm(1)
            self._tally.generated_tokens += 1
        self._tell(seq, sampled, finish)
        if seq.ends_by_grammar and finish is None:
            self._tell(seq, None, "stop")

    def _tell(self, seq: Sequence, sampled: SampledToken | None, finish: FinishReason | None) -> None:
        """Put out a choice's next token, and end the choice if that was the last."""
        self._outputs.append(seq.output(sampled, finish))
        if finish is not None:
            self._end(seq)
            self._settle(seq.state, finished=True)

    def _commit(self, seq: Sequence) -> None:
        done = seq.table.num_committed
        self._cache.commit(seq.table, seq.token_ids, seq.num_nameable)
        for name in seq.table.names[done : seq.table.num_committed]:
            self._computing.pop(name, None)

    # ---- leaving ----

    def _end(self, seq: Sequence) -> None:
        """Free all that a sequence holds, naming what is confirmed of it."""
        if seq.status is Status.RUNNING:
            self._commit(seq)
            self._stop_running(seq)
        elif seq.status is Status.WAITING:
            self._waiting.remove(seq)
        seq.status = Status.ENDED
        seq.gate = None  # its grammar may hold tens of MB, and request and choices hold each other

    def _preempt(self, seq: Sequence) -> None:
        """Take a running sequence's blocks; it resumes from its tokens."""
        self._stop_running(seq)
        self._tally.preemptions += 1
        seq.num_computed = 0
        if seq.reports_prompt:
            seq.state.prompt_logprobs = []
        seq.status = Status.WAITING
        insort(self._waiting, seq, key=rank)

    def _stop_running(self, seq: Sequence) -> None:
        for name in seq.table.names[seq.table.num_committed :]:
            if self._computing.get(name) is seq:
                del self._computing[name]
        del self._running[seq.seq_id]
        self._in_flight.leave(seq)

    def _release(self, seq: Sequence) -> None:
        self._cache.release(seq.table)
        self._forgotten.append(seq.seq_id)

    def _settle(self, state: RequestState, *, finished: bool) -> None:
        """After a choice ended: let its siblings go on, or forget the request with its last choice."""
        if not state.ended:
            if state.sequences[0].status is Status.ENDED:
                self._release_siblings(state)
            return
        del self._requests[state.request.request_id]
        self._waiting_grammars.leave(state.request.request_id)
        if not state.admitted:
            self._num_queued -= 1
        self._tally.finished_requests += finished

    def _release_siblings(self, state: RequestState) -> None:
        for seq in state.sequences:
            if seq.status is Status.HELD:
                seq.status = Status.WAITING
                insort(self._waiting, seq, key=rank)

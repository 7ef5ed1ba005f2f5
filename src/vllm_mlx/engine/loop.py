"""One iteration of an engine: take commands, plan, submit, read, apply, hand out what came of it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from vllm_mlx.config import CacheConfig, EngineConfig
from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.core.errors import AppError
from vllm_mlx.core.stats import EngineStats
from vllm_mlx.engine.client import EngineInfo
from vllm_mlx.engine.scheduler import Scheduler
from vllm_mlx.engine.wire import Abort, Command, Confirm, TokenOutput
from vllm_mlx.runners.base import PendingStep, Runner, RunnerDied, StepPlan, StepResult
from vllm_mlx.structured.compiling import Grammars
from vllm_mlx.structured.masks import Tokens

logger = logging.getLogger(__name__)

_GRAMMAR_POLL_S = 0.002
"""How often a loop with nothing else to do looks whether a grammar is compiled."""

ROW_FAILED = "the model could not compute this request"


class EngineLoop:
    """Joins a scheduler and a runner. Synchronous: whoever owns the thread calls `iterate`.

    Over a runner that computes while the host goes on, one step is always submitted before the one before it
    is read, so that the device never waits for the host; what that brings is told one iteration later.
    """

    def __init__(
        self,
        runner: Runner,
        engine: EngineConfig,
        cache: CacheConfig,
        clock: Clock = system_clock,
        grammars: Grammars | None = None,
    ) -> None:
        self._runner = runner
        self._scheduler = Scheduler(runner.capabilities, engine, cache, clock, grammars)
        self._overlap = runner.capabilities.overlap
        self._clock = clock
        self._in_flight: deque[tuple[StepPlan, PendingStep, float]] = deque()  # and seconds to submit
        self._stands_still = False  # until a grammar is compiled

    @property
    def has_work(self) -> bool:
        """Whether `iterate` would do something without new commands."""
        return self._scheduler.has_work

    @property
    def wait_s(self) -> float | None:
        """How long to wait for a command before `iterate` is called again; None for as long as it takes."""
        if not self.has_work:
            return None
        return _GRAMMAR_POLL_S if self._stands_still else 0.0

    @property
    def info(self) -> EngineInfo:
        """What the front must know."""
        capabilities = self._runner.capabilities
        return EngineInfo(
            fingerprint=capabilities.fingerprint,
            vocab_size=capabilities.vocab_size,
            max_model_len=self._scheduler.max_model_len,
            max_num_seqs=self._scheduler.max_running,
            kv_capacity_tokens=self._scheduler.kv_capacity_tokens,
            path=capabilities.path,
        )

    def stats(self) -> EngineStats:
        """The counts after the last iteration."""
        return self._scheduler.stats()

    def close(self) -> None:
        """End what other threads do for this engine; the runner is its owner's to close."""
        self._scheduler.close()

    def iterate(self, commands: Iterable[Command]) -> list[TokenOutput]:
        """Obey the commands in order, submit at most one step, return what there is to tell.

        Raises:
            RunnerDied: no request can be served any more.
        """
        refused = [output for command in commands for output in self._obey(command)]
        before = len(self._in_flight)
        plan = None
        try:
            plan = self._submit()
            # What was in flight before is read now; without overlap, so is what was just submitted.
            for _ in range(before):
                self._read()
            if plan is not None and plan.waits:
                self._sample(plan)
            if not self._overlap and plan is not None:
                self._read()
        except _StepFailed:
            self._resolve()
            self._run_row_by_row()
        outputs = refused + self._scheduler.take_outputs()
        idle = not outputs and not self._in_flight and not before and plan is None
        self._stands_still = idle and self._scheduler.waits_for_grammars
        return outputs

    def _submit(self) -> StepPlan | None:
        plan = self._plan()
        if plan is not None:
            with _noting_failure(plan):
                begun_s = self._clock()
                with self._scheduler.looking_ahead(plan, self._tokens_in_flight()) as begin:
                    step = self._runner.submit(plan, begin)
                self._in_flight.append((plan, step, self._clock() - begun_s))
        return plan

    def _tokens_in_flight(self) -> Tokens:
        return self._in_flight[-1][1].peek if self._in_flight else dict

    def _sample(self, plan: StepPlan) -> None:
        """The second half of a submission: what may be sampled is known only now that all else was read."""
        begun_s = self._clock()
        mask = self._scheduler.mask(plan)
        _, step, spent_s = self._in_flight[-1]
        with _noting_failure(plan):
            step.sample(mask)
        self._in_flight[-1] = (plan, step, spent_s + self._clock() - begun_s)

    def _read(self) -> None:
        plan, step, spent_s = self._in_flight.popleft()
        begun_s = self._clock()
        with _noting_failure(plan):
            result = step.read()
        # What it cost the host, and how much longer the device took: with overlap the time between two reads
        # would count the submission of the next step, which may be the larger part, to this one.
        self._scheduler.apply(plan, result, spent_s + self._clock() - begun_s)
        self._forget()

    def _plan(self) -> StepPlan | None:
        plan = self._scheduler.plan()
        self._forget()
        return plan

    def _resolve(self) -> None:
        """After a step failed: wait for what is in flight, and take none of it in."""
        while self._in_flight:
            plan, step, _ = self._in_flight.popleft()
            with suppress(_StepFailed), _noting_failure(plan):
                step.read()
        self._scheduler.retract()
        self._forget()

    def _run_row_by_row(self) -> None:
        """Find out which row is at fault; executing a row twice is harmless by the runner's contract."""
        plan = self._plan()
        if plan is None:
            return
        mask = self._scheduler.mask(plan) if plan.waits else None
        whole = StepResult()
        for row in plan.rows:
            alone = StepPlan((row,))
            part = StepResult(failed={row.seq_id: ROW_FAILED})
            with suppress(_StepFailed), _noting_failure(alone):
                part = self._runner.execute(alone, mask)
            whole.sampled.update(part.sampled)
            whole.prompt_logprobs.update(part.prompt_logprobs)
            whole.failed.update(part.failed)
        self._scheduler.apply(plan, whole)
        self._forget()

    def _forget(self) -> None:
        forgotten = self._scheduler.take_forgotten()
        if forgotten:
            self._runner.forget(forgotten)

    def _obey(self, command: Command) -> list[TokenOutput]:
        if isinstance(command, Abort):
            self._scheduler.abort(command)
            return []
        if isinstance(command, Confirm):
            self._scheduler.confirm(command)
            return []
        try:
            self._scheduler.submit(command)
        except AppError as error:
            return [TokenOutput.of_error(command.request_id, error)]
        return []


class _StepFailed(Exception):
    """A step raised; the log has it."""


@contextmanager
def _noting_failure(plan: StepPlan) -> Iterator[None]:
    try:
        yield
    except RunnerDied:
        raise
    except Exception as error:
        logger.exception("a step of %d rows failed", len(plan.rows))
        raise _StepFailed from error

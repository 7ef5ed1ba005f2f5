"""Turns the crank of a scheduler over the fake runner and checks its books after every move."""

from __future__ import annotations

import threading
from collections import defaultdict, deque

from tests.fakes.clock import HandClock
from tests.fakes.runner import FakeRunner, alone
from vllm_mlx.config import CacheConfig, EngineConfig
from vllm_mlx.core.constraints import ThinkingRules
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.engine.scheduler import Scheduler
from vllm_mlx.engine.wire import Abort, Confirm, EngineRequest, TokenOutput
from vllm_mlx.runners.base import PendingStep, Runner, StepPlan
from vllm_mlx.structured.compiling import Grammars


def make_request(
    request_id: str = "r",
    prompt_ids: list[int] | None = None,
    *,
    seed: int = 0,
    eos_ids: tuple[int, ...] = (),
    priority: int = 0,
    timeout_s: float | None = None,
    cache_salt: str = "",
    grammar: str | None = None,
    thinking: ThinkingRules | None = None,
    **sampling: object,
) -> EngineRequest:
    """A short request; keyword arguments that are not its own go to its sampling settings."""
    return EngineRequest(
        request_id=request_id,
        prompt_ids=[1, 2, 3] if prompt_ids is None else prompt_ids,
        sampling=SamplingParams(**{"max_tokens": 4, **sampling}),
        seed=seed,
        eos_ids=eos_ids,
        priority=priority,
        timeout_s=timeout_s,
        cache_salt=cache_salt,
        grammar=grammar,
        thinking=thinking,
    )


class Driver:
    """One scheduler, one runner (the fake one unless another is given), and everything that came out.

    Attributes:
        outputs: by request id, in order.
    """

    def __init__(
        self,
        runner: Runner | None = None,
        *,
        enable_prefix_cache: bool = True,
        grammars: Grammars | None = None,
        **engine: object,
    ) -> None:
        self.runner = runner or FakeRunner()
        self.clock = HandClock()
        self.scheduler = Scheduler(
            self.runner.capabilities,
            EngineConfig(**engine),
            CacheConfig(enable_prefix_cache=enable_prefix_cache),
            self.clock,
            grammars,
        )
        self._in_flight: deque[tuple[StepPlan, PendingStep]] = deque()
        self.requests: dict[str, EngineRequest] = {}
        self.outputs: dict[str, list[TokenOutput]] = defaultdict(list)

    def submit(self, request: EngineRequest) -> EngineRequest:
        self.scheduler.submit(request)
        self.requests[request.request_id] = request
        self.scheduler.check()
        return request

    def abort(self, request_id: str, choice: int | None = None) -> None:
        self.scheduler.abort(Abort(request_id, choice))
        self.scheduler.check()

    def confirm(self, num_tokens: int, request_id: str = "r", choice: int = 0) -> None:
        self.scheduler.confirm(Confirm(request_id, choice, num_tokens))
        self.scheduler.check()

    def step(self) -> StepPlan | None:
        """Plan and submit one step; with overlap apply the one before, else this one. The plan."""
        plan = self.scheduler.plan()
        self.scheduler.check()
        self.runner.forget(self.scheduler.take_forgotten())
        before = len(self._in_flight)
        if plan is not None:
            tokens = self._in_flight[-1][1].peek if self._in_flight else dict
            with self.scheduler.looking_ahead(plan, tokens) as begin:
                step = self.runner.submit(plan, begin)
            self._in_flight.append((plan, step))
        for _ in range(before):
            self._apply(*self._in_flight.popleft())
        if plan is not None and plan.waits:
            self._in_flight[-1][1].sample(self.scheduler.mask(plan))
            self.scheduler.check()
        if plan is not None and not self.runner.capabilities.overlap:
            self._apply(*self._in_flight.popleft())
        if plan is None and not before and self.scheduler.waits_for_grammars:
            threading.Event().wait(0.001)  # a thread compiles
        self._keep(self.scheduler.take_outputs())
        return plan

    def _apply(self, plan: StepPlan, step: PendingStep) -> None:
        self.scheduler.apply(plan, step.read())
        self.scheduler.check()
        self.runner.forget(self.scheduler.take_forgotten())

    def run(self, most_steps: int = 10_000) -> int:
        """Steps until nothing is left to do; how many it took."""
        for steps in range(most_steps):
            if not self.scheduler.has_work:
                return steps
            self.step()
        raise AssertionError(f"still not done after {most_steps} steps")

    def _keep(self, outputs: list[TokenOutput]) -> None:
        for output in outputs:
            self.outputs[output.request_id].append(output)

    def ids(self, request_id: str = "r", choice: int = 0) -> list[int]:
        """Output ids so far."""
        return [i for o in self.outputs[request_id] if o.choice == choice for i in o.token_ids]

    def finish(self, request_id: str = "r", choice: int = 0) -> str | None:
        """Why the choice ended, if it did."""
        reasons = [o.finish for o in self.outputs[request_id] if o.choice == choice and o.finish]
        assert len(reasons) <= 1
        return reasons[0] if reasons else None

    def error(self, request_id: str = "r") -> tuple[str, str] | None:
        """What ended the request, if an error did; nothing may follow it."""
        errors = [i for i, o in enumerate(self.outputs[request_id]) if o.error]
        assert errors in ([], [len(self.outputs[request_id]) - 1])
        return self.outputs[request_id][-1].error if errors else None

    def assert_as_alone(self, request_id: str) -> None:
        """Every choice says what it would have said alone."""
        request = self.requests[request_id]
        for choice in range(request.sampling.n):
            expected = alone(request, self.runner.capabilities.vocab_size, choice)
            assert (self.ids(request_id, choice), self.finish(request_id, choice)) == expected

    def assert_all_blocks_accounted(self) -> None:
        """With nothing in flight, every block is free or cached."""
        stats = self.scheduler.stats()
        assert (stats.running, stats.waiting, stats.cache.active_blocks) == (0, 0, 0)
        assert stats.cache.free_blocks + stats.cache.cached_blocks == stats.cache.total_blocks

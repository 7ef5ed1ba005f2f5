"""A thousand requests, many of them given up at a random moment: nothing is left over."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import aclosing
from pathlib import Path

import mlx.core as mx
import pytest
from tests.fakes.chat_tokenizer import save_text_side
from tests.fakes.runner import FakeRunner

from vllm_mlx.config import CacheConfig, Config, EngineConfig, ModelConfig
from vllm_mlx.core.errors import AppError, InternalError
from vllm_mlx.core.events import Finished, TextDelta
from vllm_mlx.core.requests import GenerateRequest, TextInput, TokenInput
from vllm_mlx.core.results import GenerationResult, fold
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.stats import EngineStats
from vllm_mlx.runners.build import build_runner
from vllm_mlx.sampling.batch import PendingSample, Prepared, Sampler
from vllm_mlx.sampling.masks import RowMask
from vllm_mlx.service.build import build_service
from vllm_mlx.service.hub import Hub

pytestmark = pytest.mark.anyio
STORM = 1000


async def stats_when_idle(hub: Hub) -> EngineStats:
    """A request behind all others has ended, so the aborts before it were heard."""
    await fold(hub.generate(request("probe", priority=10**6, max_tokens=1)))
    return (await hub.ready()).engine.stats()


def request(prompt: str, *, priority: int = 0, **sampling: object) -> GenerateRequest:
    given = {"max_tokens": 8, "temperature": 0.0, "ignore_eos": True} | sampling
    return GenerateRequest(input=TextInput(prompt), priority=priority, sampling=SamplingParams(**given))  # type: ignore[arg-type]


async def live(hub: Hub, number: int, chance: random.Random) -> str:
    """One request's life: read to the end, left after some events, cancelled, or given up unread."""
    shared = "the same beginning of many prompts, "[: chance.randrange(36)]
    stop = ("e", "\ufffd") if chance.random() < 0.3 else ()
    asked = request(
        f"{shared}{number}",
        priority=chance.randrange(3),
        n=chance.choice([1, 1, 1, 3]),
        max_tokens=chance.randrange(0, 24),
        temperature=1.0,
        stop=stop,
        prompt_logprobs=0 if chance.random() < 0.1 else None,
    )
    way = chance.choice(["read", "read", "leave", "cancel"])
    events = hub.generate(asked)
    if way == "leave":
        left = chance.randrange(1, 12)
        async with aclosing(events):
            async for _ in events:
                left -= 1
                if left == 0:
                    break
        return way
    work = asyncio.create_task(fold(events))
    if way == "cancel":
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return way
    result = await work
    assert all(choice.finish_reason in ("length", "stop") for choice in result.choices)
    return way


async def test_after_a_storm_every_block_is_free_or_cached_and_nothing_runs_on(tmp_path: Path) -> None:
    save_text_side(tmp_path / "fake", vocab_size=512)
    threads = set(threading.enumerate())
    runner = FakeRunner(vocab_size=512, block_size=4, num_blocks=80, max_rows=16, keep_plans=False)
    config = Config(
        model=ModelConfig(model=str(tmp_path / "fake")),
        engine=EngineConfig(max_num_batched_tokens=64, prefill_step_size=16, max_queue=STORM),
    )
    hub = build_service(config, runner_factory=lambda: runner)
    await hub.start()
    await hub.ready()
    tasks = asyncio.all_tasks()
    chance = random.Random(1)
    ways = await asyncio.gather(*(live(hub, i, random.Random(chance.random())) for i in range(STORM)))
    assert set(ways) == {"read", "leave", "cancel"}
    stats = await stats_when_idle(hub)
    cache = stats.cache
    assert (stats.running, stats.waiting, cache.active_blocks, stats.failed_requests) == (0, 0, 0, 0)
    assert cache.free_blocks + cache.cached_blocks == cache.total_blocks == 79
    assert cache.evicted_blocks > 0
    assert hub.status()["active_requests"] == 0
    assert asyncio.all_tasks() <= tasks
    await hub.aclose()
    assert [
        thread for thread in threading.enumerate() if thread not in threads and thread.name == "engine"
    ] == []


class Poisoned(Sampler):
    """Turns the logits of rows whose prompt begins with a mark into NaN."""

    MARK = 33  # the byte-level id of "B"; see the request below

    def sample_lazy(self, logits: mx.array, prepared: Prepared, mask: RowMask | None = None) -> PendingSample:
        bad = mx.array([[row.prompt_ids[0] == self.MARK] for row in prepared.rows])
        return super().sample_lazy(mx.where(bad, mx.nan, logits), prepared, mask)


async def test_a_row_whose_logits_are_broken_ends_alone(chat_folder: Path) -> None:
    config = Config(model=ModelConfig(model=str(chat_folder)), cache=CacheConfig(max_cache_blocks=200))

    def load() -> object:
        return build_runner(chat_folder, config.model, config.engine, config.cache, new_sampler=Poisoned)

    hub = build_service(config, runner_factory=load)  # type: ignore[arg-type]
    await hub.start()

    def ids(first: int) -> GenerateRequest:
        sampling = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
        return GenerateRequest(input=TokenInput((first, 5, 6, 7)), sampling=sampling)

    try:
        alone = [(await fold(hub.generate(ids(i)))).text for i in range(4)]
        asked = [ids(0), ids(1), ids(Poisoned.MARK), ids(2), ids(3)]
        outcomes = await asyncio.gather(*(fold(hub.generate(each)) for each in asked), return_exceptions=True)
        fault = outcomes.pop(2)
        assert isinstance(fault, InternalError)
        assert [o.text if isinstance(o, GenerationResult) else o for o in outcomes] == alone
        stats = (await hub.ready()).engine.stats()
        assert (stats.failed_requests, stats.running, stats.cache.active_blocks) == (1, 0, 0)
    finally:
        await hub.aclose()


async def test_events_end_once_with_finished_and_then_nothing_of_that_choice(tmp_path: Path) -> None:
    save_text_side(tmp_path / "fake", vocab_size=512)
    config = Config(model=ModelConfig(model=str(tmp_path / "fake")))
    hub = build_service(config, runner_factory=lambda: FakeRunner(vocab_size=512, num_blocks=500))
    await hub.start()
    ended: list[int] = []
    async with aclosing(
        hub.generate(request("x", n=4, temperature=1.0, stop=("e",), max_tokens=40))
    ) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                assert event.choice not in ended
            if isinstance(event, Finished):
                ended.append(event.choice)
    assert sorted(ended) == [0, 1, 2, 3]
    await hub.aclose()
    with pytest.raises(AppError):
        await fold(hub.generate(request("x")))

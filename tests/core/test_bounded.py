"""Work without an end is interrupted at its limit, or when nobody waits, and its thread is free again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.fakes.chat_tokenizer import save_text_side

from vllm_mlx.chat.template import ChatTemplate
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.bounded import OutOfTime, run_bounded
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.messages import Message, Text
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.service.prompt import PromptBuilder

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(80)]

SHORT_S = 0.05
LONG_S = 600.0
ENDLESS_TEMPLATE = (
    "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def one_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Endless:
    """Work without an end, which libraries' usual handlers do not stop."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        while True:
            try:
                int("1")
            except Exception:  # noqa: BLE001  (as a library might)
                continue


async def test_work_ends_at_its_limit_and_the_next_is_done(one_thread: ThreadPoolExecutor) -> None:
    for i in range(20):
        with pytest.raises(OutOfTime):
            await run_bounded(one_thread, Endless(), SHORT_S / 10)
        assert await run_bounded(one_thread, lambda i=i: i, LONG_S) == i  # type: ignore[misc]


async def test_the_limit_counts_from_when_a_thread_takes_the_work_up(one_thread: ThreadPoolExecutor) -> None:
    first = Endless()
    before = asyncio.create_task(run_bounded(one_thread, first, LONG_S))
    waiting = asyncio.create_task(run_bounded(one_thread, Endless(), SHORT_S))
    assert await asyncio.to_thread(first.begun.wait, LONG_S)
    done, _ = await asyncio.wait({waiting}, timeout=3 * SHORT_S)
    assert not done
    before.cancel()
    with pytest.raises(OutOfTime):
        await waiting


async def test_a_caller_who_leaves_frees_the_thread(one_thread: ThreadPoolExecutor) -> None:
    work = Endless()
    task = asyncio.create_task(run_bounded(one_thread, work, LONG_S))
    assert await asyncio.to_thread(work.begun.wait, LONG_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await run_bounded(one_thread, lambda: "free", LONG_S) == "free"


async def test_what_the_work_raises_is_raised(one_thread: ThreadPoolExecutor) -> None:
    with pytest.raises(ZeroDivisionError):
        await run_bounded(one_thread, lambda: 1 // 0, LONG_S)


async def test_a_template_that_takes_too_long_is_the_requests_fault(tmp_path: Path) -> None:
    save_text_side(tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    tokenizer.hf_tokenizer.chat_template = ENDLESS_TEMPLATE
    prompts = PromptBuilder(
        tokenizer,
        ChatTemplate(tokenizer),
        vocab_size=tokenizer.vocab_size,
        context_tokens=4096,
        max_pending=4,
        limit_s=SHORT_S,
    )
    with pytest.raises(InvalidRequest) as refused:
        await prompts.build(ChatInput(messages=(Message("user", (Text("hi"),)),)))
    assert refused.value.code == "prompt_too_slow"
    prompts.close()

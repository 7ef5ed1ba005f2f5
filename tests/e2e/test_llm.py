"""`LLM`: the same engine without HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.server import LIMIT_S, ROOT, Server, eventually

from vllm_mlx import LLM, SamplingParams
from vllm_mlx.core.errors import ContextOverflow, InvalidRequest, Unavailable
from vllm_mlx.core.events import Completed, Finished, Started, TextDelta

pytestmark = pytest.mark.requirement(98)
GREEDY = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)


@pytest.fixture(scope="module")
def llm(chat_folder: Path) -> Iterator[LLM]:
    with LLM(str(chat_folder)) as llm:
        yield llm


def is_idle(llm: LLM) -> bool:
    status = llm.status()
    engine = status["engine"]
    assert isinstance(engine, dict)
    return (status["active_requests"], engine["running"], engine["cache"]["active_blocks"]) == (0, 0, 0)


def test_a_batch_comes_back_in_order_and_as_each_alone(llm: LLM) -> None:
    prompts = ["Once", "upon a time", [20, 21, 22]]
    alone = [llm.generate(prompt, GREEDY)[0].text for prompt in prompts]
    assert [result.text for result in llm.generate(prompts, GREEDY)] == alone
    assert len(set(alone)) == 3


def test_it_says_what_the_server_says(llm: LLM, tiny: Server) -> None:
    body = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
    served = tiny.post("/v1/completions", prompt="Once", **body).json()
    assert llm.generate("Once", GREEDY)[0].text == served["choices"][0]["text"]
    messages = [{"role": "user", "content": "Hello"}]
    served = tiny.post("/v1/chat/completions", messages=messages, **body).json()
    result = llm.chat(messages, GREEDY)
    assert result.text == served["choices"][0]["message"]["content"] == llm.chat("Hello", GREEDY).text
    assert result.usage.prompt_tokens == served["usage"]["prompt_tokens"]
    assert result.usage.completion_tokens == 12


def test_a_stream_brings_the_text_as_events(llm: LLM) -> None:
    events = list(llm.stream("Hello", GREEDY))
    assert isinstance(events[0], Started)
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == llm.chat("Hello", GREEDY).text
    assert isinstance(events[-2], Finished)
    assert isinstance(events[-1], Completed)


def test_leaving_a_stream_early_ends_the_request(llm: LLM) -> None:
    for event in llm.stream("Hello", SamplingParams(max_tokens=5000, ignore_eos=True)):
        if isinstance(event, TextDelta):
            break
    eventually(lambda: is_idle(llm))


@pytest.mark.requirement(55)
def test_template_variables_reach_the_template(llm: LLM) -> None:
    plain = llm.chat("Hello", GREEDY).usage.prompt_tokens
    # <think>, two line breaks, </think>, two line breaks.
    assert llm.chat("Hello", GREEDY, enable_thinking=False).usage.prompt_tokens == plain + 6


def test_choices_and_scores(llm: LLM) -> None:
    (result,) = llm.generate("Once", SamplingParams(n=3, seed=1, max_tokens=6, logprobs=2, ignore_eos=True))
    assert len({choice.text for choice in result.choices}) == 3
    assert all(len(choice.logprobs) == 6 for choice in result.choices)


def test_a_bad_prompt_is_an_error_and_hurts_nobody(llm: LLM) -> None:
    with pytest.raises(InvalidRequest):
        llm.generate(["fine", [9999]], GREEDY)
    with pytest.raises(ContextOverflow):
        llm.generate("x" * 9000, GREEDY)
    with pytest.raises(InvalidRequest):
        llm.chat([{"role": "nobody", "content": "x"}], GREEDY)
    with pytest.raises(InvalidRequest):
        SamplingParams(temperature=-1)
    eventually(lambda: is_idle(llm))
    assert llm.generate("fine", GREEDY)[0].usage.completion_tokens == 12


def test_closing_leaves_no_thread_and_later_calls_are_refused(chat_folder: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    running = len(threading.enumerate())
    with LLM(str(chat_folder)) as llm:
        stream = llm.stream("Hello", SamplingParams(max_tokens=5000, ignore_eos=True))
        next(stream)
    with pytest.raises(Unavailable):
        list(stream)
    with pytest.raises(Unavailable):
        llm.generate("x", GREEDY)
    llm.close()
    eventually(
        lambda: len(threading.enumerate()) <= running or {t.name for t in threading.enumerate()} <= before
    )


def test_a_script_may_end_without_closing(chat_folder: Path) -> None:
    script = "import sys; from vllm_mlx import LLM; llm = LLM(sys.argv[1]); llm.generate('x')"
    for _ in range(3):  # it used to abort at its end in one run of three
        ended = subprocess.run(
            [sys.executable, "-c", script, str(chat_folder)],
            env={**os.environ, "VLLM_MLX_BLAS": "stock", "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "")


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no model folder 'gone'"):
        LLM(str(tmp_path / "gone"))


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    "prompt", [None, 5, b"a", [None], [[1.5]], [[True]], "\ud800", "", [[-1]], [[10**30]]]
)
def test_what_is_no_prompt_is_refused(llm: LLM, prompt: Any) -> None:
    with pytest.raises(InvalidRequest):
        llm.generate(prompt, GREEDY)
    assert is_idle(llm)


@pytest.mark.requirement(80)
@pytest.mark.parametrize("messages", [None, 5, [], [None], [[]], [{}], [{"role": "user", "content": None}]])
def test_what_is_no_conversation_is_refused(llm: LLM, messages: Any) -> None:
    with pytest.raises(InvalidRequest):
        llm.chat(messages, GREEDY)


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    ("name", "value"),
    [("stop", 5), ("stop", (None,)), ("stop_token_ids", 5), ("logit_bias", [1]), ("ignore_eos", "yes")],
)
def test_sampling_of_the_wrong_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=name.partition("_")[0]):
        SamplingParams(**{name: value})


def test_one_stop_string_may_stand_alone() -> None:
    assert SamplingParams(stop="end").stop == ("end",)

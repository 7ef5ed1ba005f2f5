"""What is said between the front and a child arrives as it was said, and nothing else is understood."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.driver import make_request
from tests.limits import LIMIT_S

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.stats import CacheStats, EngineStats, ModelPath
from vllm_mlx.engine.client import EngineInfo
from vllm_mlx.engine.frames import (
    BadFrame,
    Close,
    Hello,
    Launch,
    Loaded,
    LoadFailed,
    decode_command,
    decode_frame,
    decode_launch,
    encode,
    encode_launch,
    encode_request,
    new_pair,
)
from vllm_mlx.engine.wire import Abort, Command, Confirm, EngineRequest, RawLogprob, StepFrame, TokenOutput

ids = st.integers(0, 2**31 - 1)
names = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
numbers = st.floats(-100, 100)
counts = st.integers(0, 2**40)

samplings = st.builds(
    SamplingParams,
    temperature=st.none() | st.floats(0, 100),
    logit_bias=st.none() | st.dictionaries(ids, numbers, max_size=4),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    max_tokens=st.integers(1, 2**31 - 1),
    stop=st.lists(names.filter(bool), max_size=3).map(tuple),
    stop_token_ids=st.lists(ids, max_size=3).map(tuple),
    ignore_eos=st.booleans(),
    n=st.integers(1, 128),
    logprobs=st.none() | st.integers(0, 20),
)
requests = st.builds(
    EngineRequest,
    request_id=names,
    prompt_ids=st.lists(ids, max_size=30),
    sampling=samplings,
    seed=st.integers(-(2**63), 2**64 - 1),
    eos_ids=st.lists(ids, max_size=3).map(tuple),
    priority=st.integers(-(2**31), 2**31),
    timeout_s=st.none() | st.floats(0, 1e9),
    cache_salt=names,
)
aborts = st.builds(Abort, request_id=names, choice=st.none() | st.integers(0, 127))
confirms = st.builds(Confirm, request_id=names, choice=st.integers(0, 127), num_tokens=counts)
logprobs = st.builds(
    RawLogprob,
    token_id=ids,
    logprob=st.none() | numbers,
    top=st.lists(st.tuples(ids, numbers), max_size=3).map(tuple),
)
outputs = st.builds(
    TokenOutput,
    request_id=names,
    choice=st.integers(0, 127),
    token_ids=st.lists(ids, max_size=3),
    logprobs=st.lists(logprobs, max_size=2),
    finish=st.none() | st.sampled_from(["stop", "length", "abort"]),
    error=st.none() | st.tuples(names, names),
    retry_after_s=st.none() | numbers,
    cached_tokens=counts,
    prompt_logprobs=st.none() | st.lists(logprobs, max_size=2),
)
stats = st.builds(
    EngineStats, running=counts, generated_tokens=counts, cache=st.builds(CacheStats, hit_tokens=counts)
)
infos = st.builds(
    EngineInfo,
    vocab_size=counts,
    max_model_len=counts,
    max_num_seqs=counts,
    kv_capacity_tokens=counts,
    path=st.builds(ModelPath, path=names, reason=names),
)
commands = st.just(Close()) | aborts | confirms | requests
frames = (
    st.builds(Hello, st.integers(0, 100))
    | st.builds(Loaded, infos)
    | st.builds(LoadFailed, names, names)
    | st.builds(StepFrame, counts, st.lists(outputs, max_size=4), stats)
)


@given(commands)
def test_a_command_arrives_as_it_was_sent(command: EngineRequest | Abort | Close) -> None:
    assert decode_command(encode(command)) == command


@given(requests)
def test_a_request_that_is_accepted_for_sending_is_understood(request: EngineRequest) -> None:
    assert decode_command(encode_request(request)) == request


@given(frames)
def test_a_frame_arrives_as_it_was_sent(frame: Hello | Loaded | LoadFailed | StepFrame) -> None:
    assert decode_frame(encode(frame)) == frame


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_crashes(data: bytes) -> None:
    for decode in (decode_command, decode_frame):
        with pytest.raises(BadFrame):
            decode(data)


@given(commands | frames, st.data())
def test_a_message_that_was_cut_or_belongs_to_the_other_side_is_refused(
    message: object, data: st.DataObject
) -> None:
    whole = encode(message)  # type: ignore[arg-type]
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for decode in (decode_command, decode_frame):
        with pytest.raises(BadFrame):
            decode(cut)
    is_command = isinstance(message, Command | Close)
    with pytest.raises(BadFrame):
        (decode_frame if is_command else decode_command)(whole)


def test_settings_that_cannot_be_are_refused_as_a_bad_frame() -> None:
    good = encode(make_request(temperature=1.0))
    bad = good.replace(b"\xabtemperature\xcb\x3f\xf0", b"\xabtemperature\xcb\xbf\xf0")
    assert good != bad
    with pytest.raises(BadFrame):
        decode_command(bad)


def test_what_cannot_be_written_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidRequest):
        encode_request(make_request(cache_salt="\ud800"))


@given(names, names)
def test_a_launch_is_one_line_and_arrives_whole(address: str, folder: str) -> None:
    launch = Launch(
        address=address,
        folder=folder,
        model=ModelConfig(default_temperature=0.5, default_chat_template_kwargs='{"a":\n1}'),
        engine=EngineConfig(max_num_seqs=3),
        cache=CacheConfig(cache_memory_mb=5),
    )
    line = encode_launch(launch)
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert decode_launch(line) == launch


@pytest.mark.parametrize("line", [b"", b"{}\n", b"[1]\n", b"\xff\n"])
def test_anything_else_is_no_launch(line: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_launch(line)


@pytest.mark.requirement(85)
def test_a_line_can_be_closed_while_its_other_end_goes_and_words_are_on_their_way() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, zmq.Context() as theirs:
        for i in range(300):
            ours = zmq.Context()
            front, child = new_pair(ours, linger_ms=0), new_pair(theirs, linger_ms=0)
            front.bind(f"ipc://{folder}/{i}")
            child.connect(f"ipc://{folder}/{i}")
            child.send(b"hello")
            assert front.recv() == b"hello"
            child.close()  # libzmq's own thread does it, while we speak
            end = time.perf_counter() + i * 1e-6
            with contextlib.suppress(zmq.Again):
                while time.perf_counter() < end:
                    front.send(b"word" * 500, zmq.NOBLOCK)
            closing = threading.Thread(target=ours.destroy, daemon=True)
            closing.start()
            closing.join(LIMIT_S)
            assert not closing.is_alive()

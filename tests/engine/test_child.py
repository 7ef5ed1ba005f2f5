"""The child process on its own, with the test as its front."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from tests.fakes.child_runner import describe
from tests.fakes.driver import make_request

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.engine.frames import (
    Close,
    Hello,
    Launch,
    Loaded,
    LoadFailed,
    decode_frame,
    encode,
    encode_launch,
)
from vllm_mlx.engine.wire import StepFrame

LIMIT_MS = 30_000
FAKE = "tests.fakes.child_runner:fake_runner"


class Front:
    """The other end of a child's socket and line."""

    def __init__(
        self, folder: Path, address: str, runner_factory: str, *, grammars_ahead: bool = False
    ) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PAIR)
        self.socket.rcvtimeo = LIMIT_MS
        self.socket.bind(address)
        self.line, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vllm_mlx.engine.child"],
                stdin=theirs,
                stderr=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        launch = Launch(
            address=address,
            folder=str(folder),
            model=ModelConfig(),
            engine=EngineConfig(),
            cache=CacheConfig(),
            runner_factory=runner_factory,
            grammars_ahead=grammars_ahead,
        )
        self.line.sendall(encode_launch(launch))

    def hear(self) -> object:
        return decode_frame(self.socket.recv())

    def ended(self) -> tuple[int, str]:
        """Exit code and log, once the child has ended by itself."""
        _, log = self.process.communicate(timeout=LIMIT_MS / 1000)
        return self.process.returncode, log.decode()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.line.close()
        self.context.destroy(linger=0)


@pytest.fixture
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("c")
    describe(folder)
    factory = getattr(request, "param", FAKE)
    front = Front(folder, f"ipc://{folder}/s", factory)
    yield front
    front.close()


def test_it_says_hello_then_what_it_loaded_then_what_its_steps_bring_and_closes(front: Front) -> None:
    assert front.hear() == Hello()
    assert isinstance(front.hear(), Loaded)
    front.socket.send(encode(make_request("r", max_tokens=2)))
    first, second = front.hear(), front.hear()
    assert isinstance(first, StepFrame)
    assert isinstance(second, StepFrame)
    assert (first.num_taken, second.num_taken, second.stats.generated_tokens) == (1, 0, 2)
    assert second.outputs[0].finish == "length"
    front.socket.send(encode(Close()))
    assert front.ended()[0] == 0


@pytest.mark.requirement(63)
def test_the_vocabulary_of_its_grammars_is_read_before_it_serves(tmp_path: Path) -> None:
    describe(tmp_path)
    front = Front(tmp_path, f"ipc://{tmp_path}/s", FAKE, grammars_ahead=True)
    try:
        assert front.hear() == Hello()
        assert isinstance(front.hear(), Loaded)
        (tmp_path / "tokenizer.json").unlink()
        front.socket.send(encode(make_request("r", max_tokens=2, grammar='start: "ab"')))
        told: list[int] = []
        while len(told) < 2:
            frame = front.hear()
            assert isinstance(frame, StepFrame)
            for output in frame.outputs:
                assert output.error is None
                told += output.token_ids
        assert told == [ord(letter) - 32 for letter in "ab"]
    finally:
        front.close()


def test_its_log_names_the_process_and_nothing_of_a_request(front: Front) -> None:
    assert front.hear() == Hello()
    front.socket.send(b"\xc1 a secret")
    code, log = front.ended()
    assert code == 1
    assert f"[engine {front.process.pid}]" in log
    assert "bytes that are no message" in log
    assert "secret" not in log


def test_it_ends_with_its_line_even_while_it_waits_for_commands(front: Front) -> None:
    assert front.hear() == Hello()
    assert isinstance(front.hear(), Loaded)
    front.line.close()
    assert front.ended() == (1, "")


@pytest.mark.parametrize("front", ["no.such.module:factory", "os:no_such_attribute"], indirect=True)
def test_a_factory_that_does_not_exist_is_a_model_that_cannot_be_loaded(front: Front) -> None:
    assert front.hear() == Hello()
    failed = front.hear()
    assert isinstance(failed, LoadFailed)
    assert failed.code == "model_load_failed"
    assert front.ended()[0] == 1

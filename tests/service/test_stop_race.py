"""The front and the engine end a text at the same moment: what the caller got decides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.chat_tokenizer import save_text_side

from vllm_mlx.config import Config, ModelConfig
from vllm_mlx.core.events import Completed, Event, Finished, TextDelta
from vllm_mlx.core.requests import GenerateRequest, TextInput
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.stats import EngineStats, ModelPath
from vllm_mlx.engine.client import EngineInfo
from vllm_mlx.engine.wire import EngineRequest, TokenOutput
from vllm_mlx.service.build import load_model
from vllm_mlx.service.generate import generate
from vllm_mlx.service.loaded import LoadedModel
from vllm_mlx.service.port import ModelCard


class Played:
    """An engine whose outputs are all there before the front reads the first."""

    def __init__(self, steps: list[tuple[str, str | None]]) -> None:
        self.steps = steps
        self.aborts: list[int | None] = []
        self.confirmed = 0
        self.ids: dict[str, int] = {}
        self.alive = True

    async def start(self) -> EngineInfo:
        path = ModelPath(path="paged", reason="played")
        return EngineInfo(
            fingerprint="",
            vocab_size=512,
            max_model_len=100,
            max_num_seqs=1,
            kv_capacity_tokens=100,
            path=path,
        )

    def submit(self, request: EngineRequest) -> Played:
        self.request = request
        self._outputs = self._play()
        return self

    async def _play(self) -> AsyncIterator[TokenOutput]:
        for text, finish in self.steps:
            ids = [self.ids[char] for char in text]
            yield TokenOutput(
                request_id=self.request.request_id,
                choice=0,
                token_ids=ids,
                finish=finish,  # type: ignore[arg-type]
            )

    def __aiter__(self) -> Played:
        return self

    async def __anext__(self) -> TokenOutput:
        return await anext(self._outputs)

    async def aclose(self) -> None:
        """Nothing runs."""

    def abort(self, request_id: str, *, choice: int | None = None) -> None:
        self.aborts.append(choice)

    def confirm(self, request_id: str, choice: int, num_tokens: int) -> None:
        assert (request_id, choice) == (self.request.request_id, 0)
        assert not self.aborts
        self.confirmed += num_tokens

    def stats(self) -> EngineStats:
        return EngineStats()


async def said(folder: Path, engine: Played, stop: str) -> tuple[str, Finished, int]:
    save_text_side(folder)
    card = ModelCard(id="m", created=1, root="m", max_model_len=None)
    model: LoadedModel = await load_model(Config(model=ModelConfig(model="m")), folder, card, engine)
    for char in "abcde":
        (engine.ids[char],) = model.tokenizer.encode(char, add_special_tokens=False)
    engine.ids["$"] = model.eos_ids[0]
    asked = GenerateRequest(input=TextInput("p"), sampling=SamplingParams(stop=(stop,), max_tokens=20))
    events: list[Event] = [event async for event in generate(model, asked, clock=lambda: 0.0)]
    (finished,) = [event for event in events if isinstance(event, Finished)]
    completed = events[-1]
    assert isinstance(completed, Completed)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text, finished, completed.usage.completion_tokens


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("steps", "aborts"),
    [
        # The engine had gone on to its own end before it could hear of the stop string.
        ([("a", None), ("b", None), ("c", None), ("d", None), ("$", "stop")], [0]),
        ([("a", None), ("b", None), ("c", None), ("d", "length")], [0]),
        # Several tokens a step, the end among them: nothing is left to abort.
        ([("ab", None), ("cd$", "stop")], []),
        ([("abcde", "length")], []),
        ([("ab", None), ("cde", None)], [0]),
        # The very token that completes the stop string is the last one allowed.
        ([("ab", None), ("c", "length")], []),
    ],
)
async def test_tokens_past_a_stop_string_are_never_shown_or_counted(
    steps: list[tuple[str, str | None]], aborts: list[int], tmp_path: Path
) -> None:
    engine = Played(steps)
    text, finished, tokens = await said(tmp_path / "m", engine, "bc")
    assert (text, finished.reason, finished.stop_sequence, tokens) == ("a", "stop", "bc", 3)
    assert engine.aborts == aborts
    assert engine.confirmed == 3


@pytest.mark.anyio
async def test_an_end_before_the_stop_string_is_complete_shows_what_was_held_back(tmp_path: Path) -> None:
    text, finished, tokens = await said(tmp_path / "m", Played([("ab", None), ("$", "stop")]), "bc")
    assert (text, finished.reason, finished.stop_sequence, tokens) == ("ab", "stop", None, 3)


@pytest.mark.anyio
async def test_a_long_text_is_confirmed_while_it_grows_and_whole_at_its_end(tmp_path: Path) -> None:
    told: list[int] = []
    engine = Played([*[("a", None)] * 40, ("$", "stop")])
    engine.confirm = lambda request_id, choice, num_tokens: told.append(num_tokens)  # type: ignore[method-assign]
    assert (await said(tmp_path / "m", engine, "bc"))[2] == sum(told) == 41
    assert told == [16, 16, 9]

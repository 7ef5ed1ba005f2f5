"""A server that is told to stop before its model is there."""

from __future__ import annotations

import asyncio

import pytest

from vllm_mlx.core.errors import Unavailable
from vllm_mlx.core.requests import GenerateRequest, TextInput
from vllm_mlx.service.hub import Hub
from vllm_mlx.service.loaded import LoadedModel
from vllm_mlx.service.port import ModelCard


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_request_that_waits_for_the_load_hears_that_the_server_stops() -> None:
    loading = asyncio.Event()

    async def load() -> LoadedModel:
        loading.set()
        await asyncio.Event().wait()
        raise AssertionError

    hub = Hub(ModelCard(id="m", created=1, root="m", max_model_len=None), load)
    await hub.start()
    events = hub.generate(GenerateRequest(input=TextInput("hi")))
    waiting = asyncio.ensure_future(anext(events))
    await loading.wait()
    assert hub.health().state == "loading"
    await hub.drain(0)
    with pytest.raises(Unavailable, match="shutting down"):
        await waiting
    assert hub.health().state == "stopping"

"""Two ways to the app: in process, and over a real socket."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import openai
import pytest
from tests.fakes.service import FakeModelService, completed, spoken
from tests.limits import LIMIT_S

from vllm_mlx.config import AccessConfig, ServerConfig
from vllm_mlx.server.app import create_app
from vllm_mlx.server.run import DrainingServer, bind, url_of


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def service() -> FakeModelService:
    return FakeModelService([*spoken("hello big world"), completed(3)])


@pytest.fixture
async def client(service: FakeModelService) -> AsyncIterator[httpx.AsyncClient]:
    """The app in process; a fault in it is answered, not raised."""
    app = create_app(service, ServerConfig(max_body_mb=1))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
def live(service: FakeModelService) -> Iterator[Callable[..., str]]:
    """Starts a server on a loopback port; returns its address."""
    stops: list[Callable[[], None]] = []

    def start(access: AccessConfig | None = None, **settings: object) -> str:
        config = ServerConfig(**({"max_body_mb": 1, "log_level": "error"} | settings))  # type: ignore[arg-type]
        listener = bind("127.0.0.1", 0)
        url = url_of(listener)
        server = DrainingServer(service, config, access)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join(LIMIT_S)
            assert not thread.is_alive()

        stops.append(stop)
        return url

    yield start
    for stop in stops:
        stop()


@pytest.fixture
def sdk(live: Callable[..., str]) -> Iterator[openai.OpenAI]:
    """The official client, against a real server."""
    with openai.OpenAI(base_url=live() + "/v1", api_key="not-needed", max_retries=0) as client:
        yield client

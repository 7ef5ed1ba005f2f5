"""The life of an engine's thread: take commands, iterate, tell; the same in every process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.engine.loop import EngineLoop
from vllm_mlx.engine.wire import Command, EngineRequest, StepFrame


class CommandSource(Protocol):
    """Where commands come from, in the order in which they were given."""

    def take(self, *, wait_s: float | None) -> list[Command | None]:
        """All commands that are there, None among them to stop; the first one may be waited for.

        Args:
            wait_s: None for as long as it takes.
        """
        ...


def serve(engine: EngineLoop, commands: CommandSource, tell: Callable[[StepFrame], None]) -> None:
    """Iterate until told to stop; what came of each iteration is told at once.

    Raises:
        RunnerDied: no request can be served any more.
    """
    while True:
        taken: list[Command] = []
        for command in commands.take(wait_s=engine.wait_s):
            if command is None:
                return
            taken.append(command)
        num_requests = sum(isinstance(command, EngineRequest) for command in taken)
        outputs = engine.iterate(taken)
        if taken or outputs or not engine.wait_s:
            tell(StepFrame(num_requests, outputs, engine.stats()))


def load_error(error: BaseException) -> ModelLoadError:
    """What to tell of a failed load: a known cause as it is, anything else without its details."""
    if isinstance(error, ModelLoadError):
        return error
    wrapped = ModelLoadError(f"the model could not be loaded ({type(error).__name__}); the log says more")
    wrapped.__cause__ = error
    return wrapped

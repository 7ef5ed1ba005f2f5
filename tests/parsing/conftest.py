"""Counts work instead of time, so that a check for linear cost does not depend on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest


@pytest.fixture
def lines_executed() -> Callable[[Callable[[], object]], int]:
    """Runs a function and returns how many lines of `vllm_mlx.parsing` that took."""

    def count(run: Callable[[], object]) -> int:
        lines = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal lines
            if "parsing" not in frame.f_code.co_filename:
                return None
            lines += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            run()
        finally:
            sys.settrace(before)
        return lines

    return count

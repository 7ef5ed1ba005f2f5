"""A thread that was joined fully is gone for the system as well."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from vllm_mlx.engine.ending import join_fully


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only /proc shows the system's threads")
def test_a_joined_thread_is_gone_for_the_system_too() -> None:
    for _ in range(50):
        thread = threading.Thread(target=lambda: None)
        thread.start()
        join_fully(thread)
        assert not Path(f"/proc/self/task/{thread.native_id}").exists()

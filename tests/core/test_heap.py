"""Objects that stay are no work for Python's collector."""

from __future__ import annotations

import gc

from vllm_mlx.core.heap import keep_what_is_there


def test_later_collections_look_at_what_came_later() -> None:
    try:
        keep_what_is_there()
        assert gc.get_freeze_count() > 1000
        later = [[]]
        assert any(each is later for each in gc.get_objects())
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()

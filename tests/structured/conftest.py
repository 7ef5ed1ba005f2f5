"""What the tests of constrained output share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vllm_mlx.structured.checking import GrammarChecker, Names


@pytest.fixture(scope="session")
def checker() -> Iterator[GrammarChecker]:
    """Of a model without control tokens."""
    made = GrammarChecker(Names())
    yield made
    made.close()

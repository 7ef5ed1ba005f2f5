"""What holds for every test: a mark of a requirement names a row that exists."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.requirements import ROWS

# A busy machine is no fault of the code: no time limit for an example, and none for drawing one.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a mark with a number that is no row, so that no proof points nowhere."""
    for item in items:
        for mark in item.iter_markers("requirement"):
            unknown = [number for number in mark.args if number not in ROWS]
            if unknown:
                raise pytest.UsageError(f"{item.nodeid}: no requirement {unknown} in tests/requirements.py")

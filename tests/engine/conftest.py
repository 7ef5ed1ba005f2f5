"""Every test function of the engine runs twice: one step at a time, and with steps that overlap."""

from __future__ import annotations

import pytest
from tests.fakes.runner import FakeRunner


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "overlap_by_default" in metafunc.fixturenames:
        once = metafunc.definition.get_closest_marker("stepwise") is not None
        ways = [False] if once else [False, True]
        names = ["overlapped" if way else "stepwise" for way in ways]
        metafunc.parametrize("overlap_by_default", ways, ids=names, indirect=True)


@pytest.fixture(autouse=True)
def overlap_by_default(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets fake runners that are not told otherwise overlap, or not."""
    monkeypatch.setattr(FakeRunner, "overlap_by_default", getattr(request, "param", False))

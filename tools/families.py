"""`python -m tools.families` proves every family of mlx-lm anew and writes down what was found."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROOFS = ROOT / "tests" / "parity" / "test_families.py"
RESULTS = ROOT / "tests" / "parity" / "families.json"


class Recorder:
    """Keeps, by family, what came of the tests that have one."""

    def __init__(self) -> None:
        self._families: dict[str, str] = {}
        self.outcomes: dict[str, Counter[str]] = {}
        self.served: dict[str, dict[str, object]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
                self._families[item.nodeid] = item.callspec.params["family"]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        family = self._families.get(report.nodeid)
        if family is None or (report.passed and report.when != "call"):
            return
        self.outcomes.setdefault(family, Counter())[report.outcome] += 1
        self.served.setdefault(family, {}).update(report.user_properties)


def results(recorder: Recorder) -> dict[str, Any]:
    """What goes into the file."""
    families = {
        family: {**recorder.served[family], **dict(sorted(outcomes.items()))}
        for family, outcomes in sorted(recorder.outcomes.items())
    }
    return {"mlx_lm": version("mlx-lm"), "mlx": version("mlx"), "families": families}


def main() -> int:
    """Run the proofs and write the file."""
    recorder = Recorder()
    # Golden tokens need one BLAS; see tests/fakes/model_folders.py.
    os.environ.setdefault("VLLM_MLX_BLAS", "stock")
    code = pytest.main(["-q", "-p", "no:cacheprovider", str(PROOFS)], plugins=[recorder])
    if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        RESULTS.write_text(json.dumps(results(recorder), indent=1) + "\n", encoding="utf-8")
        print(f"wrote {RESULTS.relative_to(ROOT)}; `make docs` makes the page from it")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())

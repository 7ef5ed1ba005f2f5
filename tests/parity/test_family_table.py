"""The table of families: it leaves none out, and what it says of them was proven."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from mlx_lm import models
from tests.fakes.families import FAMILIES, METAL_ONLY, NOT_BUILT, PAGED
from tools.families import RESULTS

RECORDED = json.loads(RESULTS.read_text(encoding="utf-8"))


@pytest.mark.skipif(RECORDED["mlx_lm"] != version("mlx-lm"), reason="recorded with another mlx-lm")
def test_every_family_of_mlx_lm_is_in_the_table() -> None:
    # One of them cannot even be imported, so their text has to tell.
    has_model = re.compile(r"^(class Model\(|from .* import .*\bModel\b)", re.MULTILINE)
    files = Path(models.__path__[0]).glob("*.py")
    modules = {file.stem for file in files if has_model.search(file.read_text("utf-8"))}
    assert modules - FAMILIES.keys() == NOT_BUILT.keys()
    # What the table has beside them are names that mlx-lm maps to a family.
    assert FAMILIES.keys() - modules == {"mistral"}


def test_every_family_of_the_table_was_proven() -> None:
    families = RECORDED["families"]
    assert families.keys() == FAMILIES.keys()
    for family, row in families.items():
        assert "failed" not in row, family
        if family not in METAL_ONLY:
            assert row["passed"] >= 1, family
            assert row["path"] == ("paged" if family in PAGED else "sequential"), family
    assert sum("passed" in row for row in families.values()) >= 60

"""The docs tell the truth: generated pages are fresh, links lead somewhere, every flag named exists."""

from __future__ import annotations

import re

import pytest
from tests.architecture.project import ROOT, tracked
from tools.docs.pages import stale
from tools.docs.routes import render

from vllm_mlx.cli.flags import flags_of
from vllm_mlx.cli.refused import REFUSED
from vllm_mlx.config import settings

PAGES = [file for file in tracked() if file.suffix == ".md" and "changelog.d" not in file.parts]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Flags of other programs that our pages show.
FOREIGN = {
    "--generate-hashes",
    "--universal",
    "--require-hashes",
    "--data",
    "--no-deps",
    "--upgrade",
    "--force-reinstall",
    "--policy",
    "--worker-urls",
    "--auth-type",
    "--provider",
}


@pytest.mark.requirement(96)
def test_the_generated_pages_are_up_to_date() -> None:
    assert stale() == [], "run `make docs`"


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in _anchors(file.read_text(encoding="utf-8"))):
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert broken == []


@pytest.mark.requirement(96)
def test_every_flag_that_a_page_names_exists() -> None:
    # Tools and benchmarks are programs of their own, and their pages show their own flags.
    pages = [page for page in PAGES if page.relative_to(ROOT).parts[0] not in ("tools", "benchmarks")]
    known = {flag for one in settings() for flag in flags_of(one)} | set(REFUSED)
    known |= {"--config", "--help", "--version", "--message", *FOREIGN}
    for page in pages:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text(encoding="utf-8")))
        assert named - known == set(), page.relative_to(ROOT)


def test_no_flag_is_both_accepted_and_refused() -> None:
    accepted = [flag for one in settings() for flag in flags_of(one)]
    assert set(accepted) & set(REFUSED) == set()
    assert len(accepted) == len(set(accepted))


def test_the_page_of_routes_names_method_path_and_meaning() -> None:
    page = render({"paths": {"/health": {"get": {"summary": "Health", "description": "Is it up?\n\nMore."}}}})
    assert "| GET | `/health` | Is it up? |" in page


def _anchors(text: str) -> set[str]:
    """The names that headings get, the way that GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}

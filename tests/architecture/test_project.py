"""What the project's own files promise: Python versions, extras, licence, locks, nothing of one machine."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from tests.architecture.project import PACKAGE, ROOT, tracked

import vllm_mlx

LARGEST_FILE_BYTES = 16 * 1024 * 1024
# Text that the demo model is trained on may talk about anything.
TRAINING = ("tools/demo_model/", "src/vllm_mlx/models/demo/", "tests/demo_model/")
OF_ONE_MACHINE = re.compile(
    r"(/home/[a-z]|/Users/[a-zA-Z]|/root/|file:///|[A-Z]:\\Users|--(extra-)?index-url[ =]h)"
)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return dict(tomllib.load(file)["project"])


@pytest.mark.requirement(117)
def test_the_metadata_promises_python_3_11_to_3_14(project: dict[str, Any]) -> None:
    assert project["requires-python"] == ">=3.11,<3.15"
    named = {c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c}
    assert named == {"3.11", "3.12", "3.13", "3.14"}


def test_each_linux_backend_is_an_extra_and_macos_needs_none(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    for name, backend in {"cpu": "mlx[cpu]", "cuda": "mlx[cuda13]"}.items():
        assert extras[name] == [f"{backend}; platform_system == 'Linux'"]


def test_the_floors_and_ceilings_of_mlx_are_named(project: dict[str, Any]) -> None:
    for name in ("mlx", "mlx-lm"):
        [line] = [line for line in project["dependencies"] if re.fullmatch(rf"{name}[><=].*", line)]
        assert re.search(r">=0\.32", line), line
        assert "<0.33" in line, line


def test_the_command_and_the_types_are_shipped(project: dict[str, Any]) -> None:
    assert project["scripts"] == {"vllm-mlx": "vllm_mlx.__main__:main"}
    assert (PACKAGE / "py.typed").exists()
    assert re.fullmatch(r"\d+\.\d+\.\d+", vllm_mlx.__version__)


@pytest.mark.parametrize("name", ["dev", "cpu", "cuda"])
def test_every_package_in_a_lock_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    packages = re.split(r"\n(?=[a-z])", text.strip())
    assert len(packages) > 20
    assert [p.partition("\n")[0] for p in packages if "--hash=sha256:" not in p or "==" not in p] == []
    assert "://" not in text


@pytest.mark.requirement(121)
def test_licence_guide_citation_and_thanks_are_there_and_linked(project: dict[str, Any]) -> None:
    assert project["license"] == "Apache-2.0"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("LICENSE", "CONTRIBUTING.md", "CITATION.cff"):
        assert (ROOT / name).exists()
        assert f"]({name})" in readme
    assert "## Acknowledgements" in readme


def test_no_file_tells_of_the_machine_it_was_made_on() -> None:
    found = []
    for file in tracked():
        name = file.relative_to(ROOT).as_posix()
        if name.startswith(TRAINING) or file == ROOT / "tests/architecture/test_project.py":
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {match.group()}" for match in OF_ONE_MACHINE.finditer(text)]
    assert found == []


def test_no_file_is_too_large_for_a_repository() -> None:
    assert [file.name for file in tracked() if file.stat().st_size > LARGEST_FILE_BYTES] == []

"""The shape of the code: sizes, opening lines, layers, tables."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import subprocess
import sys

from tests.architecture.project import PACKAGE, ROOT, python_files

import vllm_mlx
from vllm_mlx.registry import Registry

FILE_LINES = 500
FUNCTION_LINES = 60
FOLDER_FILES = 20
CATALOGUES = {PACKAGE / "parsing" / "formats"}
"""Folders with one file a row of a table: their length is that of the table, and nobody reads them in order."""


def test_no_file_is_longer_than_a_person_reads() -> None:
    # The banks of the demo model's training text are tables of phrases: nobody reads them from top to bottom.
    files = [file for file in python_files() if not file.name.startswith("bank_")]
    sizes = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {str(f.relative_to(ROOT)): n for f, n in sizes.items() if n > FILE_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {}
    for file in python_files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{file.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_no_folder_is_a_heap() -> None:
    folders = [each for each in [PACKAGE, *PACKAGE.rglob("*")] if each.is_dir() and each not in CATALOGUES]
    sizes = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: n for folder, n in sizes.items() if n > FOLDER_FILES} == {}


def test_every_module_opens_with_its_duty() -> None:
    silent = []
    for file in python_files():
        if file.is_relative_to(ROOT / "tests"):
            continue  # a test's file is named after what it tests
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        first = (text or "").partition("\n")[0]
        if not first.endswith((".", "?", "!")):
            silent.append(str(file.relative_to(ROOT)))
    assert silent == []


def test_imports_keep_the_contracts() -> None:
    # A process of its own: the linter configures logging and silences every logger there is.
    program = "import sys; from importlinter.cli import lint_imports as lint; sys.exit(lint(no_cache=True))"
    linted = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert linted.returncode == 0, linted.stdout


def test_every_entry_of_every_table_can_be_imported() -> None:
    for table in _tables():
        for name in table:
            table.get(name)


def _tables() -> list[Registry[object]]:
    found = []
    for module in pkgutil.walk_packages(vllm_mlx.__path__, "vllm_mlx."):
        if module.name.rpartition(".")[2] == "registry":
            holder = importlib.import_module(module.name)
            found += [value for value in vars(holder).values() if isinstance(value, Registry)]
    return found

"""Reads the table of clients, and installs each into a folder of its own, once for what the table pins."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
INSTALLED = FOLDER.parents[1] / "build" / "clients"
INSTALL_LIMIT_S = 900
HEAVY_LIMIT_S = 3600


class NotInstallable(Exception):
    """The client's packages could not be had here; the message is the installer's last word."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """One row of `clients.toml`, which says what the fields mean."""

    name: str
    run: str
    ways: list[str]
    pip: list[str] = field(default_factory=list)
    npm: list[str] = field(default_factory=list)
    call: dict[str, Any] = field(
        default_factory=lambda: {"name": "closing_time", "arguments": {"place": "the harbour"}}
    )
    servers: int = 1
    heavy: bool = False

    @property
    def folder(self) -> Path:
        """Where its packages are."""
        return INSTALLED / self.name

    @property
    def program(self) -> Path:
        """What drives it."""
        return FOLDER / "programs" / self.run

    def command(self, program: Path) -> list[str]:
        """What runs a program. Node finds packages beside the program only, so that one is copied there."""
        if program.suffix == ".mjs":
            return ["node", str(shutil.copy(program, self.folder))]
        return [str(self.folder / "bin" / "python") if self.pip else sys.executable, str(program)]


def table() -> list[Client]:
    """Every client there is."""
    return [Client(**row) for row in tomllib.loads((FOLDER / "clients.toml").read_text("utf-8"))["client"]]


def install(client: Client) -> None:
    """Install what the table pins, unless just that is there.

    Raises:
        NotInstallable: Node or the registry is not within reach, or the packages do not suit this machine.
    """
    stamp = client.folder / "installed.txt"
    wanted = "\n".join([*client.pip, *client.npm])
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(client.folder, ignore_errors=True)
    client.folder.mkdir(parents=True)
    limit_s = HEAVY_LIMIT_S if client.heavy else INSTALL_LIMIT_S
    if client.pip:
        _run([sys.executable, "-m", "venv", str(client.folder)], limit_s)
        python = str(client.folder / "bin" / "python")
        _run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *client.pip], limit_s)
    else:
        if shutil.which("node") is None or shutil.which("npm") is None:
            raise NotInstallable("Node.js is not installed")
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        _run(["npm", "install", "--prefix", str(client.folder), *quiet, *client.npm], limit_s)
    stamp.write_text(wanted, encoding="utf-8")


def _run(command: list[str], limit_s: int) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise NotInstallable(f"not done after {limit_s} seconds") from late
    if done.returncode:
        raise NotInstallable((done.stderr or done.stdout).strip()[-500:])

"""How much faster than its peers does the server stream, at 1, 4 and 16 streams?

Run by `make bench`. Starts each server in turn on the same model and machine, warms it up, loads it and ends
it; then begins again in the other order. Figures are medians over the rounds, and count as ratios to a peer
of the same run.

The peers: `mlx_lm.server` from this environment, and the reference implementation (vllm-mlx 0.6.0) where
`--reference-python` names a Python that has it. All get the same BLAS: ours loads a system OpenBLAS
by itself, the peers get it by LD_PRELOAD.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import datetime
import importlib.resources
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.load import Load, run_load

HERE = Path(__file__).resolve().parent
START_LIMIT_S = 180.0
SYSTEM_BLAS = "libopenblas.so.0"


def main() -> int:
    """Run the rounds, print a table, write the raw figures."""
    arguments = _arguments()
    model = arguments.model or str(importlib.resources.files("vllm_mlx.models") / "demo")
    servers = {"ours": our_server(model, arguments.ours_args)}
    if arguments.mlx_lm:
        servers["mlx_lm.server"] = mlx_lm_server(model)
    if arguments.reference_python:
        servers["vllm-mlx 0.6.0"] = _reference(model, arguments.reference_python)
    if arguments.in_process:
        servers["LLM in process"] = {}
    levels = [int(level) for level in arguments.levels.split(",")]
    rounds: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        order = list(servers) if number % 2 == 0 else list(reversed(servers))
        for name in order:
            figures = measure(name, servers[name], model, levels, arguments)
            rounds.append({"round": number, "server": name, "levels": figures})
            print(f"round {number} {name}: " + _line(figures), flush=True)
    table = summarise(rounds, list(servers), levels)
    print(json.dumps(table, indent=1))
    out = (
        HERE / "results" / f"concurrency-{arguments.label}-{datetime.datetime.now(datetime.UTC).date()}.json"
    )
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(_record(arguments, table, rounds), indent=1) + "\n", encoding="utf-8")
    return 0


def measure(
    name: str, server: dict[str, Any], model: str, levels: list[int], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Start one server, warm it up, load it level by level, stop it."""
    if not server:
        return measure_in_process(model, arguments)
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in server["command"]]
    with (
        open(os.devnull, "wb") as devnull,
        subprocess.Popen(command, env=server["env"], stdout=devnull, stderr=devnull) as process,
    ):
        try:
            wait_until_up(port, process)
            figures = []
            for level in levels:
                for seed in (1000 + level, level):  # the first is the warm-up
                    load = Load(
                        concurrency=level,
                        requests=level * arguments.requests_per_slot,
                        prompt_words=arguments.prompt_words,
                        max_tokens=arguments.max_tokens,
                        seed=seed,
                    )
                    summary = asyncio.run(run_load("127.0.0.1", port, server["model"], load))
                figures.append(summary.as_dict())
            return figures
        finally:
            end(process)


def measure_in_process(model: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The same load without HTTP, see `in_process.py`."""
    command = [sys.executable, "-m", "benchmarks.in_process", model, "--levels", arguments.levels]
    for name in ("prompt_words", "max_tokens", "requests_per_slot"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return figures


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to stop, and insist after a while."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def commit_of(folder: Path) -> str:
    """The commit that is checked out."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    ).stdout.strip()


def summarise(rounds: list[dict[str, Any]], names: list[str], levels: list[int]) -> dict[str, Any]:
    """Median tokens/s and first-token time by server and level, and our ratio to each peer."""
    table: dict[str, Any] = {}
    for index, level in enumerate(levels):
        row: dict[str, Any] = {}
        for name in names:
            mine = [each["levels"][index] for each in rounds if each["server"] == name]
            row[name] = {
                key: round(statistics.median(figure[key] for figure in mine), 2)
                for key in ("tokens_per_s", "ttft_p50_ms", "gap_p50_ms", "gap_p99_ms", "failed")
                if all(key in figure for figure in mine)
            }
        for name in names[1:]:
            row[f"ours / {name}"] = round(row["ours"]["tokens_per_s"] / row[name]["tokens_per_s"], 2)
        table[f"{level} streams"] = row
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder; the bundled one if left out")
    parser.add_argument("--levels", default="1,4,16")
    parser.add_argument("--prompt-words", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--requests-per-slot", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--label", default="cpu", help="for the name of the results file")
    parser.add_argument("--machine", default=platform.machine(), help="in words, for the record")
    parser.add_argument("--reference-python", help="a Python with vllm-mlx 0.6.0 (never our environment)")
    parser.add_argument("--no-mlx-lm", dest="mlx_lm", action="store_false", help="leave mlx_lm.server out")
    parser.add_argument("--in-process", action="store_true", help="also measure our own LLM, without HTTP")
    parser.add_argument("--ours-args", default="", help="further flags for our server")
    return parser.parse_args()


def our_server(model: str, further: str) -> dict[str, Any]:
    """How to start our server."""
    command = [sys.executable, "-m", "vllm_mlx", "serve", model, "--port", "{port}", *further.split()]
    return {"command": command, "env": os.environ.copy(), "model": "default"}


def mlx_lm_server(model: str) -> dict[str, Any]:
    """How to start mlx-lm's."""
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", model, "--port", "{port}"]
    return {"command": [*command, "--decode-concurrency", "64"], "env": _with_blas(), "model": model}


def _reference(model: str, python: str) -> dict[str, Any]:
    command = [python, "-m", "vllm_mlx.cli", "serve", model, "--port", "{port}", "--continuous-batching"]
    environment = _with_blas()
    environment.pop("PYTHONPATH", None)  # it would find our package under the same name
    return {"command": command, "env": environment, "model": model}


def _with_blas() -> dict[str, str]:
    """The environment with the BLAS that our own server loads, on Linux."""
    environment = os.environ.copy()
    if platform.system() == "Linux":
        try:
            ctypes.CDLL(SYSTEM_BLAS)
        except OSError:
            return environment
        environment["LD_PRELOAD"] = SYSTEM_BLAS
        environment.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count()))
    return environment


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_up(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until a chat request succeeds: the peers answer other routes before they can serve."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"GET /v1/models HTTP/1.0\r\nHost: localhost\r\n\r\n")
                if b" 200 " in connection.recv(64):
                    return
        except OSError:
            pass
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    raise RuntimeError("the server did not come up")


def _line(figures: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{f['concurrency']}: {f['tokens_per_s']:.0f} tok/s, ttft {f.get('ttft_p50_ms', 0):.0f} ms"
        for f in figures
    )


def _record(
    arguments: argparse.Namespace, table: dict[str, Any], rounds: list[dict[str, Any]]
) -> dict[str, Any]:
    settings = {k: v for k, v in vars(arguments).items() if k not in ("model", "reference_python")}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit_of(HERE),
        "machine": f"{arguments.machine}, {os.cpu_count()} cores",
        "model": Path(arguments.model).name if arguments.model else "demo",
        "settings": settings,
        "medians": table,
        "rounds": rounds,
    }


if __name__ == "__main__":
    sys.exit(main())

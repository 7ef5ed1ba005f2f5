"""`make demo`: start the server with the bundled model, ask it one question, then serve until Ctrl-C."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from vllm_mlx.config import InvalidSetting, ServerConfig
from vllm_mlx.server.run import bind

HOST = "127.0.0.1"
QUESTION = "Hello! What are you, and what can I ask you?"
START_LIMIT_S = 300.0
POLL_S = 0.1
STOP_LIMIT_S = 40.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Ctrl-C or SIGTERM came; a BaseException so that no handler for errors takes it for one."""


def main(argv: list[str]) -> int:
    """Run the demonstration; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    try:
        server = ServerConfig(port=parser.parse_args(argv).port)
    except InvalidSetting as error:
        return _complain(str(error))
    if server.port == 0:
        return _complain("port must be a fixed number, so that the question can be sent to it")
    try:
        bind(HOST, server.port).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        return _complain(f"port {server.port}: {reason}; choose another, as in `make demo PORT=8010`")
    serve = ["-m", "vllm_mlx", "serve", "demo", "--port", str(server.port), "--log-level", "warning"]
    return run([sys.executable, *serve], server.port)


def run(command: Sequence[str], port: int) -> int:
    """Start a server, ask it the question, and keep it until a signal comes.

    Args:
        command: starts the server.
        port: where it will listen on this machine.

    Returns:
        0 after a signal, else the server's own exit code.
    """
    for number in SIGNALS:
        signal.signal(number, _stop)
    # A group of its own, so that Ctrl-C reaches the server once: a second signal would cut streams off.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    try:
        if not _wait_until_ready(child, port):
            return child.poll() or _complain("the server did not become ready in time")
        _ask(port)
        return child.wait()
    except Stopped:
        return 0
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _complain(f"the question failed: {error}")
    finally:
        _end(child)


def _ask(port: int) -> None:
    print(f"you:  {QUESTION}\ndemo: ", end="", flush=True)
    for text in _answer(port):
        print(text, end="", flush=True)
    print(
        f"\n\nserving on http://{HOST}:{port}/v1 until Ctrl-C; now ask it something yourself:\n{_curl(port)}"
    )
    sys.stdout.flush()


def _wait_until_ready(child: subprocess.Popen[bytes], port: int) -> bool:
    pause = threading.Event()
    for _ in range(int(START_LIMIT_S / POLL_S)):
        if child.poll() is not None:
            return False
        try:
            if _get_health(port) == 200:
                return True
        except (OSError, http.client.HTTPException):
            pass  # not listening yet
        pause.wait(POLL_S)
    return False


def _get_health(port: int) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()


def _answer(port: int) -> Iterator[str]:
    """The pieces of the answer, as the server sends them."""
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 200,
        "temperature": 0,
        "stream": True,
    }
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(response.read(500).decode(errors="replace"))
        for line in response:
            text = line.decode().strip()
            if text.startswith("data: ") and text != "data: [DONE]":
                yield from _deltas(json.loads(text.removeprefix("data: ")))
    finally:
        connection.close()


def _deltas(chunk: dict[str, object]) -> Iterator[str]:
    if "error" in chunk:
        raise ValueError(json.dumps(chunk["error"]))
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        yield choice["delta"].get("content") or ""


def _curl(port: int) -> str:
    return (
        f"  curl http://{HOST}:{port}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        '    -d \'{"model": "demo", "messages": [{"role": "user", "content": "What is 12 + 30?"}]}\''
    )


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _end(child: subprocess.Popen[bytes]) -> None:
    """Leave no server behind: let it drain, pass a second Ctrl-C on, kill it where it does not end."""
    for one in SIGNALS:
        signal.signal(one, lambda number, frame: child.terminate())
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _complain(message: str) -> int:
    print(f"demo: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

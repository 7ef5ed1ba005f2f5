"""The command line as a person meets it: help, versions, and one clear line for each mistake."""

from __future__ import annotations

import pytest

import vllm_mlx
from vllm_mlx.cli.main import run
from vllm_mlx.cli.refused import REFUSED


def test_help_groups_the_flags_by_area(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--help"]) == 0
    shown = capsys.readouterr().out
    for title in ("Model:", "Engine:", "KV cache:", "Server:"):
        assert f"\n{title}\n" in shown


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"vllm-mlx {vllm_mlx.__version__}")


def test_a_switch_takes_one_place_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: vllm-mlx serve [MODEL] [--FLAG [VALUE] ...]\n\n")
    assert "\n  --no-" not in shown
    told = "".join(shown.split())  # long flags are broken at their hyphens
    assert "[on;offby--no-enable-prefix-cache,--disable-prefix-cache]" in told


def test_no_command_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "serve" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--prot", "8001"], "unknown flag --prot; did you mean --port?"),
        (["--bogus"], "unknown flag --bogus\n"),
        (["--max-num-seq", "3"], "unknown flag --max-num-seq; did you mean --max-num-seqs?"),
        (["a", "b"], "unknown argument b"),
        (["--port", "70000"], "--port must be from 0 to 65535, not 70000"),
        (["--port", "abc"], "--port: must be a whole number, not 'abc'"),
        (["--port", "9" * 5000], "--port: must be a whole number"),
        (["--timeout", "nan"], "--timeout must be a finite number, not nan"),
        (["--chunked-prefill-tokens", "0"], "--prefill-step-size must be at least 1, not 0"),
        (["--no-continuous-batching"], "unknown flag --no-continuous-batching"),
        (["--config", "no-such-file.yaml"], "cannot read no-such-file.yaml"),
        (["--trust-remote-code"], "nothing from a model folder is executed"),
        (["--mtp"], "--mtp: this version does not have it yet"),
        (["--spec-prefill=x"], "--spec-prefill: this version does not have it yet"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", *words]) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.count("\n") == 1
    assert len(shown) < 200


def test_every_refused_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for flag, why in REFUSED.items():
        assert run(["serve", "demo", flag]) == 2
        assert capsys.readouterr().err == f"vllm-mlx: error: {flag}: {why}\n"

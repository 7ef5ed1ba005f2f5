"""The file of servers: what it may hold, and what a wrong one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.architecture.project import ROOT

from vllm_mlx.mcp.commands import inline_code
from vllm_mlx.mcp.config import BadMcpConfig, McpServer, read_config
from vllm_mlx.mcp.policy import server_environment

ENVIRONMENT = {"TOKEN": "s3cret-value", "HOME": "/h", "EMPTY": ""}


def read(tmp_path: Path, content: Any, name: str = "mcp.json") -> tuple[McpServer, ...]:
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_config(file, ENVIRONMENT)


def one(tmp_path: Path, **entry: Any) -> McpServer:
    (server,) = read(tmp_path, {"mcpServers": {"files": entry}})
    return server


@pytest.mark.requirement(64)
def test_the_file_of_desktop_clients_is_read_as_it_is(tmp_path: Path) -> None:
    files, web, old = read(
        tmp_path,
        {
            "mcpServers": {
                "files": {"command": "npx", "args": ["-y", "@x/files", "/data"], "env": {"KEY": "${TOKEN}"}},
                "web": {
                    "type": "http",
                    "url": "https://x.test/mcp",
                    "headers": {"Authorization": "Bearer ${TOKEN}"},
                },
                "old": {"type": "sse", "url": "http://127.0.0.1:1/sse", "disabled": True},
            },
            "theme": "dark",
        },
    )
    assert files.command == ("npx", "-y", "@x/files", "/data")
    assert (files.transport, files.env) == ("stdio", {"KEY": "s3cret-value"})
    assert (web.transport, web.headers) == ("http", {"Authorization": "Bearer s3cret-value"})
    assert (old.transport, old.disabled) == ("sse", True)
    assert "s3cret" not in repr((files, web, old))


@pytest.mark.requirement(96)
def test_the_guides_file_is_read(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guides" / "mcp.md").read_text(encoding="utf-8")
    files, clock, tickets = read(tmp_path, guide.partition("```json\n")[2].partition("```")[0])
    assert (files.approval.mode, clock.approval.mode) == ("read-only", "auto")
    assert (tickets.transport, tickets.allowed_tools) == ("http", {"search", "create"})


def test_yaml_says_the_same_and_older_names_are_understood(tmp_path: Path) -> None:
    text = """
servers:
  clock:
    transport: stdio
    command: uvx
    args: [mcp-server-time]
    enabled: false
    timeout: 5
    autoApprove: [now]
default_timeout: 7
"""
    (clock,) = read(tmp_path, text, "mcp.yaml")
    assert (clock.disabled, clock.timeout_s) == (True, 5)
    assert clock.approval.covers("now", read_only=False)
    assert not clock.approval.covers("later", read_only=True)
    (other,) = read(tmp_path, {"servers": {"a": {"command": "x"}}, "default_timeout": 7})
    assert other.timeout_s == 7


def test_only_braced_variables_are_filled_in(tmp_path: Path) -> None:
    server = one(tmp_path, command="run", args=["$TOKEN", "${NOT_SET:-here}", "%TOKEN%", "$(id)"], cwd="sub")
    assert server.command == ("run", "$TOKEN", "here", "%TOKEN%", "$(id)")
    assert server.cwd == str(tmp_path / "sub")


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    "entry",
    [
        {"command": "x", "args": ["--token=${TOKEN}"]},
        {"command": "x", "cwd": "of/${TOKEN}"},
        {"command": "x", "env": {"ADDRESS": "db://me:${TOKEN}@h"}},
        {"url": "https://x.test/mcp?key=${TOKEN:-none}"},
        {"url": "https://x.test", "headers": {"Authorization": "Bearer ${TOKEN}"}},
        {"url": "https://x.test", "headers": {"Authorization": "Basic s3cret-value"}},
    ],
)
def test_whatever_was_filled_in_is_a_secret_and_so_is_what_a_header_holds(
    tmp_path: Path, entry: dict[str, Any]
) -> None:
    server = one(tmp_path, **entry)
    assert "s3cret-value" in server.secrets()
    assert "s3cret" not in repr(server)


def test_a_secret_is_known_in_the_spellings_of_programs_and_line_by_line() -> None:
    server = McpServer(
        name="a", prefix="a", transport="stdio", env={"K": "back\\slash one\nsecond line", "S": "x"}
    )
    found = server.secrets()
    assert {"back\\slash one", "back\\\\slash one", "back%5Cslash%20one", "second line"} <= set(found)
    assert "x" not in found


def test_a_variable_that_is_set_and_empty_is_the_empty_text(tmp_path: Path) -> None:
    server = one(tmp_path, command="run", args=["a${EMPTY}b", "${EMPTY:-here}", "${EMPTY:-}", "${NOT_SET:-}"])
    assert server.command == ("run", "ab", "here", "", "")


@pytest.mark.parametrize(
    ("flags", "disabled"),
    [
        ({"enabled": False, "disabled": False}, True),
        ({"enabled": True, "disabled": True}, True),
        ({"enabled": False}, True),
        ({"enabled": True, "disabled": False}, False),
    ],
)
def test_either_switch_that_is_off_leaves_the_server_out(
    tmp_path: Path, flags: dict[str, bool], disabled: bool
) -> None:
    assert one(tmp_path, command="x", **flags).disabled is disabled


@pytest.mark.requirement(80)
def test_nothing_may_run_unless_the_file_says_so(tmp_path: Path) -> None:
    silent = one(tmp_path, command="x").approval
    assert not silent.covers("read", read_only=True)
    cautious = one(tmp_path, command="x", approval="read-only").approval
    assert cautious.covers("read", read_only=True)
    assert not cautious.covers("write", read_only=False)
    assert one(tmp_path, command="x", approval="auto").approval.covers("write", read_only=False)
    listed = one(tmp_path, command="x", approval=["write"]).approval
    assert (listed.covers("write", read_only=False), listed.covers("read", read_only=True)) == (True, False)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must have one key `mcpServers`"),
        ({}, "must have one key `mcpServers`"),
        ({"mcpServers": {}, "servers": {}}, "must have one key `mcpServers`"),
        ({"mcpServers": []}, "must map up to 64 names"),
        ({"mcpServers": {"a": []}}, "server a must be an object"),
        ({"mcpServers": {"//": {"command": "x"}}}, "name needs letters"),
        ({"mcpServers": {"a": {}}}, "needs either `command` or `url`"),
        ({"mcpServers": {"a": {"command": "x", "url": "http://x"}}}, "needs either"),
        ({"mcpServers": {"a": {"command": "x", "allowed_tool": []}}}, "did you mean allowed_tools?"),
        (
            {"mcpServers": {"a": {"command": "x", "headers": {}}}},
            "has `headers`, which a server of type stdio",
        ),
        ({"mcpServers": {"a": {"command": ""}}}, "needs `command`"),
        ({"mcpServers": {"a": {"command": "x", "args": "y"}}}, "args must be a list"),
        ({"mcpServers": {"a": {"command": "x\0"}}}, "no zero byte"),
        ({"mcpServers": {"a": {"command": "x", "env": {"A": []}}}}, "env must map names to texts"),
        (
            {"mcpServers": {"a": {"command": "x", "env": {"A": "${NOT_SET}"}}}},
            "variable NOT_SET, which is not set",
        ),
        ({"mcpServers": {"a": {"command": "x", "timeout": -1}}}, "timeout must be a number above 0"),
        ({"mcpServers": {"a": {"command": "x", "timeout": True}}}, "timeout must be a number above 0"),
        (
            {"mcpServers": {"a": {"command": "x", "approval": "yes"}}},
            "approval must be auto, deny, read-only",
        ),
        (
            {"mcpServers": {"a": {"command": "x", "approval": "auto", "alwaysAllow": []}}},
            "gives both approval",
        ),
        ({"mcpServers": {"a": {"command": "x", "type": "pigeon"}}}, "type must be stdio, http or sse"),
        ({"mcpServers": {"a": {"command": "x", "disabled": "no"}}}, "disabled must be true or false"),
        ({"mcpServers": {"a": {"url": "file:/etc/passwd"}}}, "must be an http or https address"),
        ({"mcpServers": {"a": {"url": "http://"}}}, "must be an http or https address"),
        ({"mcpServers": {"a": {"url": "http://me:pw@x.test"}}}, "must hold no name or password"),
        ({"mcpServers": {"a": {"url": "http://x", "headers": {"A": "b\r\nC: d"}}}}, "no line break"),
        ({"mcpServers": {"a b": {"command": "x"}, "a_b": {"command": "x"}}}, "would have the same names"),
        ({"mcpServers": {}, "max_tool_calls": 3}, "use the flag --mcp-max-turns"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(BadMcpConfig) as failure:
        read(tmp_path, content)
    assert told in str(failure.value)
    assert "\n" not in str(failure.value)
    assert "s3cret" not in str(failure.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadMcpConfig, match=r"cannot read .*No such file"):
        read_config(tmp_path / "none.json", {})


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    "words",
    [
        "python -c x",
        "/usr/bin/python3.11 -Ic x",
        "python -W error::X -uc x",
        "pypy3 -cx",
        "bash -c x",
        "sh -lc x",
        "bash -o pipefail -c x",
        "node -e x",
        "node --title a -pe x",
        "node --eval=x",
        "deno eval x",
        "perl -ne x",
        "ruby -e x",
        "php -r x",
        "pwsh -Command x",
        "cmd.exe /c x",
        "npx -c x",
        "npx bash -c x",
        "uv run python -c x",
        "env A=1 python -c x",
        "env -S python",
        "docker run -i image sh -c x",
        "python -W a.b -c x",
        "python -uW ignore::a.b -c x",
        "ipython --profile ./p -c x",
        "bash --rcfile ./x -c y",
        "fish -C x",
        "node -r ./x.js -e y",
        "node --import ./x.mjs --eval y",
        "node --env-file ./.env -p y",
        "node --import data:text/javascript,x",
        "node --import=data:text/javascript,x server.js",
        "node --loader DATA:text/javascript,x server.js",
        "node -r data:text/javascript,x server.js",
        "bun -r ./x.ts -e y",
        "tsx -e x",
        "tsx --tsconfig ./tsconfig.json -e x",
        "npx ts-node -P ./tsconfig.json -pe x",
        "deno run -A data:text/javascript,x",
        "perl -I ./lib -e x",
        "perl -0777ne x",
        "ruby -I ./lib -e x",
        "ruby -r ./x.rb -ne y",
        "lua -l a.b -e x",
        "julia -L ./x.jl -e y",
        "php -d a.b=1 -r x",
        "php -c ./php.ini -r x",
        "awk BEGIN{x}",
        "gawk -v a=1 BEGIN{x}",
        "mawk -F : {x} ./file",
        "gawk -f ./lib.awk -e x",
        "pwsh -WorkingDirectory ./x -Command y",
        "powershell /NoProfile /Command x",
        "pwsh /nop /c x",
        "cmd /d /c x",
        "cmd.exe /s /q /k x",
        "nu -c x",
        "su user -c x",
        "scala -e x",
        "erl -noshell -eval x",
        "nix-shell --run x",
        "npx -p foo -c x",
        "npx -y --package foo --call x",
        "npm exec -c x",
        "env -u A -S python",
    ],
)
def test_code_in_the_command_is_refused_unless_allowed(tmp_path: Path, words: str) -> None:
    command, *args = words.split()
    with pytest.raises(BadMcpConfig, match="gives inline code to"):
        one(tmp_path, command=command, args=args)
    assert one(tmp_path, command=command, args=args, allow_inline_code=True).command == tuple(words.split())


@pytest.mark.parametrize(
    "words",
    [
        "npx -y @x/server -c config.json",
        "python -m mcp_server_time -c x",
        "python server.py -c x",
        "node dist/index.js -e production",
        "uvx mcp-server-git --repository .",
        "bash start.sh",
        "docker run -i --rm -e TOKEN mcp/fetch",
        "deno run server.ts",
        "deno run --allow-env npm:pkg eval",
        "cmd start.bat /c x",
        "deno run -c deno.json server.ts eval",
        "node server.js -e x",
        "node --no-warnings server.js -p 3000",
        "node -r ./x.js server.js -e x",
        "python server.py -c conf",
        "python -m pkg -c conf",
        "python -W ignore server.py -c conf",
        "python -W ignore::a.b -m pkg -c conf",
        "npx -y @scope/server -c file",
        "npx -p foo server -c file",
        "npm exec @scope/server -c file",
        "uv run server.py -c x",
        "uv run --with x python server.py -c x",
        "bash script.sh -c x",
        "bash --rcfile ./x script.sh -c x",
        "docker run image args",
        "ruby -ropen-uri server.rb -e x",
        "perl -Isome server.pl -e x",
        "php -derror_reporting=0 server.php -r x",
        "awk -f server.awk input",
        "pwsh -ExecutionPolicy Bypass -File x.ps1 -c y",
        "tsx src/index.ts -e production",
    ],
)
def test_a_command_that_names_its_code_is_taken(words: str) -> None:
    assert inline_code(words.split()) is None


@pytest.mark.requirement(80)
def test_a_server_sees_a_few_variables_and_those_it_is_given() -> None:
    ours = {
        "PATH": "/bin",
        "HOME": "/h",
        "LC_ALL": "C",
        "OPENAI_API_KEY": "k",
        "HF_TOKEN": "t",
        "LD_PRELOAD": "x",
    }
    assert server_environment(ours, {"KEY": "v"}) == {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "KEY": "v"}

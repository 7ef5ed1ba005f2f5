"""What may be started and what may be run: commands, environments, approval."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

_SCRIPT = r"[^-+].*[./\\\\].*"
_FIRST = r"[^-+/].*"
_INLINE: tuple[tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (
        re.compile(rf"(?:{program})$", re.IGNORECASE),
        re.compile(rf"(?:{code})$", re.DOTALL),
        re.compile(rf"(?:{end})$"),
    )
    for program, code, end in (
        # The letter for code may stand in a cluster (`python -Ic`, `bash -lc`) or have its code joined on.
        (r"(python|pypy)[\d.]*w?", r"-[bBdEhiIOPqRsSuvVx]*c.*", rf"-[bBdEhiIOPqRsSuvVx]*m.*|{_SCRIPT}"),
        (r"(ba|z|da|k|mk|a|c|tc|fi)?sh|rbash", r"-[A-Za-z]*c.*|--command(=.*)?", _SCRIPT),
        (r"node(js)?\d*|bun", r"-[a-z]*[ep].*|--eval(=.*)?|--print(=.*)?", _SCRIPT),
        (r"perl[\d.]*|ruby[\d.]*|lua[\d.]*|luajit|julia", r"-[A-Za-z]*[eE].*|--eval(=.*)?", _SCRIPT),
        (r"rscript|osascript|elixir|guile|racket", r"-[A-Za-z]*[eEc].*|--eval(=.*)?", _SCRIPT),
        (r"php[\d.]*", r"-[A-Za-z]*[rBRE].*|--run(=.*)?", _SCRIPT),
        (r"powershell|pwsh", r"(?i:[-/](c|e|ec|command|encodedcommand).*)", _SCRIPT),
        (r"cmd", r"/[ckr].*", _SCRIPT),
        # Launchers: what follows their first plain word belongs to the program they launch.
        (r"deno", r"eval", _FIRST),
        (r"npx|npm|pnpm|pnpx|yarn|bunx", r"-c|--call(=.*)?", _FIRST),
        (r"env", r"-\w*S.*|--split-string(=.*)?", _FIRST),
    )
)
"""Programs that take code among their words, the words that say so, and the word behind which none can."""

_KEPT = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "LANG", "LANGUAGE", "TZ"})


def inline_code(words: Sequence[str]) -> str | None:
    """The interpreter that a command gives code to, instead of the name of a file; None if it gives none.

    Interpreters are looked for at every place, because launchers pass commands on (`npx`, `uv run`, `env`,
    `docker run`). Code in a file is no inline code.
    """
    for place, word in enumerate(words):
        program = re.sub(r"\.(exe|cmd|bat)$", "", PurePath(word.replace("\\", "/")).name, flags=re.IGNORECASE)
        for name, code, end in _INLINE:
            if name.match(program):
                for following in words[place + 1 :]:
                    if code.match(following):
                        return program
                    if end.match(following):
                        break
    return None


def server_environment(ours: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """What a server's process may see: a few of our variables, and those its configuration gives."""
    kept = {name: value for name, value in ours.items() if name in _KEPT or name.startswith("LC_")}
    return kept | dict(given)


@dataclass(frozen=True, slots=True)
class Approval:
    """Which tools may run because the model asked, with nobody looking.

    Attributes:
        mode: `auto` every tool, `deny` none, `read-only` those that their server marks as such,
            `listed` those of `tools`.
        tools: names as their server gives them.
    """

    mode: str = "deny"
    tools: frozenset[str] = frozenset()

    def covers(self, tool: str, *, read_only: bool) -> bool:
        """Whether the tool may run."""
        match self.mode:
            case "auto":
                return True
            case "read-only":
                return read_only
            case "listed":
                return tool in self.tools
            case _:
                return False


NOTHING_APPROVED = Approval()
APPROVAL_MODES = ("auto", "deny", "read-only")

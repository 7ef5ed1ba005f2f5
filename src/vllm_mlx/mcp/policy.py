"""What a server's process may see, and which of its tools may run unasked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_KEPT = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "LANG", "LANGUAGE", "TZ"})


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

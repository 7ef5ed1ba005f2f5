"""What a reader tells while it reads."""

from __future__ import annotations

from typing import Any, Protocol


class CallSink(Protocol):
    """Takes calls as they are written.

    Attributes:
        calls: how many have begun.
    """

    calls: int

    def knows(self, name: str) -> bool:
        """Whether the request offers such a tool."""
        ...

    def schema(self, name: str) -> dict[str, Any] | None:
        """The JSON Schema of the tool's arguments, if the request gives one."""
        ...

    def begin(self, name: str) -> None:
        """A call begins; what was read so far is dealt with."""
        ...

    def end(self) -> None:
        """The begun call is over, and the text goes on behind it."""
        ...

    def write(self, arguments: str) -> None:
        """More of the begun call's arguments, as JSON text; what was read so far is dealt with."""
        ...

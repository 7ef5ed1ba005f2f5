"""Reads the body of a tool call while it is being written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from vllm_mlx.parsing.format import BodyKind, Tags


class CallName(NamedTuple):
    """A call begins."""

    name: str


class CallArguments(NamedTuple):
    """A piece of the begun call's arguments, as JSON text."""

    text: str


class NotACall(NamedTuple):
    """Markup and body that turned out to be no call: the caller shows it as it is."""

    text: str


BodyPiece = CallName | CallArguments | NotACall


class Body(Protocol):
    """One block of tool calls, from after its open tag on.

    Attributes:
        over: the block has ended: by its close tag, or because it can be no call.
    """

    over: bool

    def feed(self, text: str) -> tuple[list[BodyPiece], str]:
        """Take more text. Returns what it says, and the text after the block's end."""
        ...

    def finish(self) -> list[BodyPiece]:
        """The text ends here, perhaps in mid-call."""
        ...


_STRUCTURE = re.compile(r'["{}\[\]<]')
_STRUCTURE_OR_END = re.compile(r'["{}\[\]<, \t\r\n]')
_IN_STRING = re.compile(r'["\\\n]')
_IN_BROKEN_STRING = re.compile(r'["\\<]')
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ARGUMENTS = frozenset(("arguments", "parameters"))


class _Value:
    """Finds the end of one JSON value, in any number of pieces, without reading a character twice.

    A raw line break is not allowed in a JSON string; once one is seen, the quote is probably missing and a
    close tag may end the string.
    """

    def __init__(self) -> None:
        self.done = False
        self.at_tag = False  # stopped before a "<" that may begin the close tag
        self._depth = 0
        self._in_string = False
        self._broken_string = False
        self._escaped = False
        self._begun = False

    def scan(self, text: str, at: int) -> int:
        """Returns the index up to which the text belongs to the value."""
        self.at_tag = False
        while at < len(text) and not self.done and not self.at_tag:
            at = self._string(text, at) if self._in_string else self._outside(text, at)
        return at

    def _string(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        found = (_IN_BROKEN_STRING if self._broken_string else _IN_STRING).search(text, at)
        if found is None:
            return len(text)
        char = found.group()
        if char == "<":
            self.at_tag = True
            return found.start()
        if char == "\\":
            self._escaped = True
        elif char == "\n":
            self._broken_string = True
        else:
            self._in_string = self._broken_string = False
            self.done = self._depth == 0
        return found.end()

    def _outside(self, text: str, at: int) -> int:
        found = (_STRUCTURE if self._depth else _STRUCTURE_OR_END).search(text, at)
        if found is None:
            self._begun = True
            return len(text)
        char = found.group()
        if char == "<":
            self.at_tag = True
            return found.start()
        if self._depth == 0 and (self._begun or found.start() > at):
            self.done = True  # the end of a number or a word; what follows is not part of it
            return found.start()
        self._begun = True
        if char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        else:
            self._depth -= 1
            self.done = self._depth <= 0
        return found.end()


class JsonBody:
    """`{"name": ..., "arguments": {...}}`, or several of them, bare or in a list.

    Arguments that follow the name are passed on as they are written; whatever is wrong inside them is the
    model's, as with OpenAI. Until then everything is kept: what cannot become a call comes back as text.
    Members other than name and arguments are read and dropped. The close tag, which must begin with "<",
    counts only outside strings, so that arguments may speak of it.
    """

    def __init__(self, tags: Tags) -> None:
        self.over = False
        self._close = tags.close
        self._state: Callable[[str, int], int] = self._between
        self._before_tag: Callable[[str, int], int] = self._between
        self._tag = ""  # how much of the close tag has been seen
        self._raw = [tags.open]  # everything since the last thing that was passed on
        self._settled = False  # what has been read so far is passed on or not worth showing
        self._failed = False
        self._calls = 0
        self._out: list[BodyPiece] = []
        self._new_object()

    def feed(self, text: str) -> tuple[list[BodyPiece], str]:
        """Take more text. Returns what it says, and the text after the block's end."""
        at = 0
        while at < len(text) and not self.over:
            begin, at = at, self._state(text, at)
            if self._settled:
                self._raw.clear()
                self._settled = False
            elif not self._streaming and not self._tag and at > begin:
                self._raw.append(text[begin:at])
        if not self._failed:
            return self._take(), text[at:]
        self._show_raw()
        return self._take(), self._tag + text[at:]

    def finish(self) -> list[BodyPiece]:
        """The text ends here, perhaps in mid-call."""
        if not self.over:
            self.over = True
            state = self._before_tag if self._state == self._in_tag else self._state
            called = self._calls if state == self._between else self._called and state == self._member
            if self._streaming:
                self._pass_on(self._tag)
            elif not called or "".join(self._raw).strip():
                self._raw.append(self._tag)
                self._show_raw()
        return self._take()

    def _new_object(self) -> None:
        self._name = self._key = ""
        self._arguments: str | None = None
        self._called = False
        self._streaming = False  # the arguments are being passed on as they come
        self._strange = False  # there are members that are neither name nor arguments
        self._value = _Value()
        self._collected: list[str] = []

    # States: each takes at least one character, or moves on to another state.

    def _between(self, text: str, at: int) -> int:
        char = text[at]
        if char == "<":
            return self._enter_tag(at)
        if char == "{":
            self._new_object()
            self._state = self._member
        elif char not in " \t\r\n,[]" and not (char == "}" and self._calls):
            return self._fail(at)
        return at + 1

    def _member(self, text: str, at: int) -> int:
        char = text[at]
        if char == "<":
            return self._enter_tag(at)
        if char == '"':
            return self._enter_value(self._in_key, at)
        if char == "}":
            self._state = self._between
            return at + 1 if self._complete() else self._fail(at + 1)
        return at + 1 if char in " \t\r\n," else self._fail(at)

    def _in_key(self, text: str, at: int) -> int:
        at = self._collect(text, at)
        if self._value.done:
            key = _decoded("".join(self._collected))
            self._key = key if isinstance(key, str) else ""
            self._state = self._colon
        return at

    def _colon(self, text: str, at: int) -> int:
        char = text[at]
        if char == ":":
            self._state = self._before_value
        elif char not in " \t\r\n":
            return self._fail(at)
        return at + 1

    def _before_value(self, text: str, at: int) -> int:
        char = text[at]
        if char in " \t\r\n":
            return at + 1
        if char in "}],:<":
            return self._fail(at)
        if self._key in _ARGUMENTS and self._name and not self._called and char in "{[":
            self._call()
            self._streaming = True
            return self._enter_value(self._in_arguments, at)
        return self._enter_value(self._in_value, at)

    def _in_value(self, text: str, at: int) -> int:
        at = self._collect(text, at)
        if self._value.done:
            self._keep_member("".join(self._collected))
            self._state = self._member
        return at

    def _in_arguments(self, text: str, at: int) -> int:
        end = self._value.scan(text, at)
        self._pass_on(text[at:end])
        if self._value.done:
            self._streaming = False
            self._settled = True
            self._state = self._member
        return self._enter_tag(end) if self._value.at_tag else end

    def _in_tag(self, text: str, at: int) -> int:
        seen = self._tag + text[at]
        if seen == self._close:
            return self._close_block(at + 1)
        if self._close.startswith(seen):
            self._tag = seen
            return at + 1
        if self._before_tag in (self._between, self._member):
            return self._fail(at)  # and what looked like the tag is read again: it may open another block
        literal, self._tag = self._tag, ""
        if self._streaming:
            self._pass_on(literal)
        else:
            self._collected.append(literal)
            self._raw.append(literal)
        self._state = self._before_tag
        return at

    # What the states do.

    def _enter_value(self, state: Callable[[str, int], int], at: int) -> int:
        self._value = _Value()
        self._collected = []
        self._state = state
        return at

    def _enter_tag(self, at: int) -> int:
        self._before_tag, self._state = self._state, self._in_tag
        return at

    def _collect(self, text: str, at: int) -> int:
        end = self._value.scan(text, at)
        self._collected.append(text[at:end])
        return self._enter_tag(end) if self._value.at_tag else end

    def _keep_member(self, raw: str) -> None:
        if self._key == "name":
            name = _decoded(raw)
            self._name = name if isinstance(name, str) else ""
        elif self._key in _ARGUMENTS:
            value = _decoded(raw)
            self._arguments = value if isinstance(value, str) else raw if value is not None else "{}"
        else:
            self._strange = True

    def _complete(self) -> bool:
        """The object is closed: make its call, if it is one and was not made yet."""
        if not self._called:
            if not self._name or (self._arguments is None and self._strange):
                return False
            self._call()
            self._pass_on((self._arguments or "").strip() or "{}")
        self._settled = True
        return True

    def _close_block(self, at: int) -> int:
        self.over = True
        begun, self._tag = self._tag, ""
        if self._streaming:
            return at
        if self._before_tag == self._between:
            complete = self._calls > 0
        else:  # a model that forgets the last brace has still made its call
            complete = self._before_tag == self._member and self._complete()
        if not complete:
            self._raw.append(begun)
        self._settled, self._failed = complete, not complete
        return at

    def _fail(self, at: int) -> int:
        self.over = self._failed = True
        return at

    def _call(self) -> None:
        self._out.append(CallName(self._name))
        self._called = self._settled = True
        self._calls += 1

    def _pass_on(self, arguments: str) -> None:
        if arguments:
            self._out.append(CallArguments(arguments))

    def _show_raw(self) -> None:
        raw = "".join(self._raw)
        self._raw.clear()
        if raw:
            self._out.append(NotACall(raw))

    def _take(self) -> list[BodyPiece]:
        out, self._out = self._out, []
        return out


def _decoded(raw: str) -> object:
    """The JSON value, or None where it is none; a text without what no answer could carry."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return _LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


BODIES: dict[BodyKind, Callable[[Tags], Body]] = {"json": JsonBody}

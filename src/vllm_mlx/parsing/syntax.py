"""How a family writes its tool calls, as data: enough to read one, to write one, to make a grammar of it.

Every syntax writes a run of calls as

    block_open + separator.join(call_open + BODY + call_close for each call) + block_close

and they differ in the body alone. `parsing.write` follows these texts to the letter; `parsing.readers` takes
the same texts with any white space between their parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

PLACEHOLDERS = {"{index}": "[0-9]{1,3}", "{number}": "[0-9]{1,3}", "{id}": "[a-z0-9]{10}"}
"""What stands in a text for something that each call has its own of, and the regular expression of what is
written there: its number in the run, from 0 or from 1 on, or an id of the model's own making. `{name}` stands
for the tool's name."""

_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))


def varies(text: str) -> bool:
    """Whether a text is another one for each call."""
    return _PLACEHOLDER.search(text) is not None or "{name}" in text


def fill(text: str, held: Callable[[str], str], fixed: Callable[[str], str] = str) -> list[str]:
    """The pieces of a text in their order: what the placeholders become, and what becomes of the rest."""
    pieces = zip(_PLACEHOLDER.split(text), (*_PLACEHOLDER.findall(text), ""), strict=True)
    return [made for rest, name in pieces for made in (rest and fixed(rest), name and held(name)) if made]


class CallFrame(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What stands around the calls.

    Attributes:
        block_open: before the first call of a run.
        block_close: after the last.
        call_open: before each call.
        call_close: after each call.
        separator: between two calls of a run.
        glued: in these texts whatever stands together without white space is one tag, of however many tokens.
    """

    block_open: str = ""
    block_close: str = ""
    call_open: str = ""
    call_close: str = ""
    separator: str = ""
    glued: bool = False


class JsonCalls(CallFrame, frozen=True, kw_only=True):
    """A body is one JSON object: `{"name": NAME, "arguments": {...}}`.

    Attributes:
        name_key: the member with the name; "" where the name itself is the key: `{NAME: {...}}` (Apertus).
        arguments_key: the member with the arguments, an object.
        wrapper_key: the member of an outer object that holds name and arguments (Gemini's `functionCall`).
        index_key: a member before the name with the call's number in the run, as a string (Cohere).
    """

    name_key: str = "name"
    arguments_key: str = "arguments"
    wrapper_key: str = ""
    index_key: str = ""


class NamedCalls(CallFrame, frozen=True, kw_only=True):
    """A body that begins with `before_name NAME after_name`. Both texts may hold `PLACEHOLDERS`."""

    before_name: str = ""
    after_name: str = ""

    @property
    def around_name(self) -> str:
        """What stands before the arguments, with the name as `{name}`."""
        return f"{self.before_name}{{name}}{self.after_name}"


class HeaderCalls(NamedCalls, frozen=True, kw_only=True):
    """A body is the name, then the arguments as a JSON object. `before_name` is optional in reading."""


class XmlCalls(NamedCalls, frozen=True, kw_only=True):
    """A body is the name, then `before_key KEY after_key VALUE after_value` for each argument.

    Strings are written as they are, without quotes or escapes; everything else is written as JSON.

    Attributes:
        after_value: `{key}` in it stands for the argument's key.
        after_json_key: instead of `after_key` where the value is no string, in the families that tell.
            `{type}` in it stands for the value's JSON type.
        namespaced: a tool without a namespace may be called NAME.NAME, since the template lists it as one.
        inner_mark: what stands before each tag where a list or an object may be elements itself, `<KEY>`
            around a member, `<item>` around an item. They are read; we write JSON, which is read too.
        raw_open: before a string that could be taken for markup, in the families that have this (CDATA).
        raw_close: after it.
    """

    before_name: str = ""
    after_name: str
    before_key: str
    after_key: str
    after_value: str
    after_json_key: str = ""
    namespaced: bool = False
    inner_mark: str = ""
    raw_open: str = ""
    raw_close: str = ""


class PythonicCalls(CallFrame, frozen=True, kw_only=True):
    """A body is a Python call with keyword arguments: `NAME(KEY=VALUE, ...)`.

    Attributes:
        json_words: `true`, `false` and `null` instead of Python's words for them.
    """

    json_words: bool = False


class BraceCalls(CallFrame, frozen=True, kw_only=True):
    """A body is `before_name NAME {KEY:VALUE,...}`, keys bare, strings between `quote` and `quote`.

    Lists and objects inside nest the same way; numbers and words are JSON's.
    """

    before_name: str = ""
    quote: str


CallSyntax = JsonCalls | HeaderCalls | XmlCalls | PythonicCalls | BraceCalls


class Channels(msgspec.Struct, frozen=True, kw_only=True):
    """Text in labelled parts, each `open HEADER header_end TEXT close` (Harmony, Functionary).

    Attributes:
        opens: tags that begin a header.
        header_end: what ends the header.
        closes: tags that end a part; the text after them is answer.
        call: a regular expression; a header that holds it opens a call, and its group is the name.
        thought: one for headers of reasoning.
        answer: one for headers of the answer. A header that fits none of the three is text.
        starts_inside: the prompt ends with an open tag, so that the output begins inside a header.
        rest_of_open: the prompt may have written an open tag and a part of the header; an output that begins
            with this, or what stands so after a part, goes on with it.
        object_only: what follows a call's header must be a JSON object, or it was none.
        body: how a call is written behind its header, where that is more than its arguments.
        answer_open: what the family writes before an answer.
        aside_open: what it writes before words that calls may follow, where that is another part.
        aside_close: after them, up to the next part's open tag.
    """

    opens: tuple[str, ...]
    header_end: str
    closes: tuple[str, ...] = ()
    call: str
    thought: str = r"(?!)"
    answer: str = r""
    starts_inside: bool = False
    rest_of_open: str = ""
    object_only: bool = False
    body: CallSyntax | None = None
    answer_open: str
    aside_open: str = ""
    aside_close: str = ""

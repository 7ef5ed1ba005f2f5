"""Values by a plain schema in a notation that is not JSON's: Python's, or one with quotes of its own.

JSON has the library's own grammar. Here numbers, and strings in double quotes, are still left to it; lists,
mappings and words are rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from vllm_mlx.structured import lark
from vllm_mlx.structured.disjoint import value_types
from vllm_mlx.structured.lark import SpecialId
from vllm_mlx.structured.loosening import open_up
from vllm_mlx.structured.schema import Schema

_ALL_TYPES = ("object", "array", "string", "number", "boolean", "null")
_BEYOND = ("allOf", "patternProperties", "minProperties", "maxProperties")
_NO_MEMBERS = (*_BEYOND, "$ref", "anyOf", "const", "enum")
_OF_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OF_STRINGS = ("minLength", "maxLength", "pattern", "format")
_BESIDE_VALUES = frozenset(("enum", "const", "type"))
_NAME_KEY = re.compile(r"[\w.\-]+")
_BARE_KEY = re.compile(r"[^\s,:=(){}\[\]\"'<]+")


class Undescribed(Exception):
    """The notation cannot guarantee something; the text says what, to follow "cannot have"."""


class Members(NamedTuple):
    """How a mapping, or a list of named arguments, is written.

    Attributes:
        key: the text of a key.
        any_key: a terminal's definition for keys that no schema lists.
    """

    open: str
    close: str
    colon: str
    key: Callable[[str], str]
    any_key: str


class Notation(NamedTuple):
    """A way of writing values.

    Attributes:
        words: what is written for `true`, `false` and `null`.
        comma: between items.
        mapping: how a mapping is written.
        quote: the strings' delimiter, between which nothing is escaped; "" for JSON's strings.
    """

    words: dict[str, str]
    comma: str
    mapping: Members
    quote: str = ""


def _quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


def _fitting(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def written(key: str) -> str:
        if not pattern.fullmatch(key):
            raise Undescribed(f"an argument named {key[:80]!r}")
        return key

    return written


_PYTHON_MAPPING = Members("{", "}", ": ", _quoted, r'/"[^"\\\x00-\x1f]*"/')
_BRACES = Members("{", "}", ":", _fitting(_BARE_KEY), r"/[A-Za-z_][A-Za-z0-9_.\-]*/")
_JSON_WORDS = {"true": "true", "false": "false", "null": "null"}

NAMED_ARGUMENTS = Members("(", ")", "=", _fitting(_NAME_KEY), "/[A-Za-z_][A-Za-z0-9_]*/")
PYTHON = Notation({"true": "True", "false": "False", "null": "None"}, ", ", _PYTHON_MAPPING)
PYTHON_JSON_WORDS = Notation(_JSON_WORDS, ", ", _PYTHON_MAPPING)


def braces(quote: str) -> Notation:
    """Bare keys, JSON's words, and strings between two quotes of the family's own."""
    return Notation(_JSON_WORDS, ",", _BRACES, quote)


class ValueWriter:
    """Writes the rules of the values of one schema.

    An object has the properties that its schema lists, in that order, and others only where
    `additionalProperties` asks for them or nothing is listed: fewer texts than JSON Schema has, all valid.

    Args:
        name: what the names of the rules begin with.
        exact: what the notation cannot guarantee is `Undescribed`. Otherwise it is left out, and a value that
            cannot be put at all may be any of its types.

    Attributes:
        rules: what the expressions refer to.
    """

    def __init__(
        self, notation: Notation, name: str, defs: dict[str, Schema], special_id: SpecialId, *, exact: bool
    ) -> None:
        self._notation = notation
        self._name = name
        self._defs = defs
        self._special_id = special_id
        self._exact = exact
        self._known: dict[str, str] = {}
        self.rules: list[str] = []

    def members(self, schema: dict[str, Any], form: Members) -> str:
        """An object, written in a form of its own.

        Raises:
            Undescribed: it says something that this notation cannot guarantee.
        """
        if not self._exact:
            schema = self._within(schema)
        _refuse(schema, _NO_MEMBERS)
        others: Schema = schema.get("additionalProperties", True)
        listed: dict[str, Schema] = dict(schema.get("properties", {}))
        required = schema.get("required", ())
        listed |= {key: others for key in required if key not in listed}
        more = None
        if others is not False and ("additionalProperties" in schema or not listed):
            more = self._others(listed, others, form)
        # first_i: members from the i-th on, where none is written yet; rest_i: the same after a comma.
        comma = lark.literal(self._notation.comma)
        first = f"({more} ({comma} {more})*)?" if more else '""'
        rest = f"({comma} {more})*" if more else '""'
        for key, member in reversed(listed.items()):
            if member is False and key not in required:
                continue
            one = self._rule(f"{lark.literal(form.key(key) + form.colon)} {self.value(member)}")
            skipped = ("", "") if key in required else (f" | {first}", f" | {rest}")
            first, rest = (
                self._rule(f"{one} {rest}{skipped[0]}"),
                self._rule(f"{comma} {one} {rest}{skipped[1]}"),
            )
        return f"{lark.literal(form.open)} {first} {lark.literal(form.close)}"

    def value(self, schema: Schema) -> str:
        """A value, as what may stand in a rule.

        Raises:
            Undescribed: as above.
        """
        if self._exact:
            return self._value(schema)
        try:
            return self._value(schema)
        except Undescribed:
            types = value_types(schema, self._defs)
            if not types:
                raise
            return f"({self._of_types({'type': sorted(types)})})"

    def _within(self, schema: dict[str, Any]) -> dict[str, Any]:
        """What of a schema this notation can have; every valid value stays one."""
        within = {key: value for key, value in schema.items() if key not in _BEYOND}
        open_up(within, schema.keys() - within.keys())
        if "allOf" in schema:
            within["type"] = sorted(value_types(schema, self._defs))
        return within

    def _value(self, schema: Schema) -> str:
        if schema is False:
            raise Undescribed("a value that nothing fits")
        if schema is True or not schema:
            return self._once("any", lambda: self._of_types({}))
        if len(schema) == 1 and len(schema.get("allOf", ())) == 1:
            return self.value(schema["allOf"][0])
        if "$ref" in schema or "anyOf" in schema:
            if len(schema) > 1:
                raise Undescribed(f"{'$ref' if '$ref' in schema else 'anyOf'!r} beside other keywords")
            if "$ref" in schema:
                name = schema["$ref"].rpartition("/")[2]
                return self._once(name, lambda: self.value(self._defs[name]))
            return f"({' | '.join(map(self.value, schema['anyOf']))})"
        if not self._exact:
            schema = self._within(schema)
        _refuse(schema, _BEYOND)
        if "const" in schema or "enum" in schema:
            return self._one_of(schema)
        return f"({self._of_types(schema)})"

    def _of_types(self, schema: dict[str, Any]) -> str:
        named = schema.get("type", _ALL_TYPES)
        return " | ".join(
            self._of_type(name, schema) for name in ([named] if isinstance(named, str) else named)
        )

    def _of_type(self, name: str, schema: dict[str, Any]) -> str:
        words = self._notation.words
        match name:
            case "null":
                return lark.literal(words["null"])
            case "boolean":
                return f"{lark.literal(words['true'])} | {lark.literal(words['false'])}"
            case "string":
                return self._string(schema)
            case "array":
                return self._array(schema)
            case "object":
                return self.members(schema, self._notation.mapping)
        limits = {key: schema[key] for key in _OF_NUMBERS if key in schema}
        return self._rule(lark.json_value({"type": name, **limits}))

    def _string(self, schema: dict[str, Any]) -> str:
        limits = {key: schema[key] for key in _OF_STRINGS if key in schema}
        if not self._notation.quote:
            return self._rule(lark.json_value({"type": "string", **limits}))
        if limits and self._exact:
            raise Undescribed(f"the text of a string with {next(iter(limits))!r}")
        return self._once("text", self._quoted_text)

    def _quoted_text(self) -> str:
        quote = lark.markup(self._notation.quote, self._special_id)
        rest, rules = lark.text_until(self._notation.quote, f"{self._name}_quoted", self._special_id)
        self.rules += rules
        return f"{quote} {rest}"

    def _array(self, schema: dict[str, Any]) -> str:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        items: Schema = schema.get("items", True)
        first = schema.get("prefixItems", [])[:most]
        if items is False:
            most = len(first) if most is None else min(most, len(first))
        if most is not None and least > most:
            raise Undescribed("a list that must be longer than it may be")
        comma = lark.literal(self._notation.comma)
        rest = ""
        if most is None or most > len(first):
            item = self._rule(self.value(items))
            low, high = max(0, least - len(first)), None if most is None else most - len(first)
            rest = _repeated(item, comma, low, high, begun=bool(first))
        for i in range(len(first) - 1, -1, -1):
            rest = f"{comma if i else ''} {self._rule(self.value(first[i]))} {rest}"
            if i >= least:
                rest = f"({rest})?"
        return f'"[" {rest} "]"'

    def _others(self, listed: Iterable[str], schema: Schema, form: Members) -> str:
        """A member whose key is not listed."""
        keys = [lark.literal(form.key(key)) for key in listed]
        unlisted = f" & ~({' | '.join(keys)})" if keys else ""
        name = f"{self._name.upper()}_K{len(self.rules)}"
        self.rules.append(f"{name}: {form.any_key}{unlisted}")
        return self._rule(f"{name} {lark.literal(form.colon)} {self.value(schema)}")

    def _one_of(self, schema: dict[str, Any]) -> str:
        if schema.keys() - _BESIDE_VALUES:
            raise Undescribed("a list of values beside other keywords")
        values = [schema["const"]] if "const" in schema else schema["enum"]
        named = schema.get("type", _ALL_TYPES)
        types = {named} if isinstance(named, str) else set(named)
        fitting = [value for value in values if _fits(value, types)]
        if not fitting:
            raise Undescribed("a value that nothing fits")
        quote = self._notation.quote
        texts = [value for value in fitting if quote and isinstance(value, str)]
        if any(quote in text for text in texts):
            raise Undescribed(f"a text that holds {quote!r}")
        others = [self._written(value) for value in fitting if not (quote and isinstance(value, str))]
        ways = []
        if texts:
            mark = lark.markup(quote, self._special_id)
            ways.append(f"{mark} {self._terminal(texts)} {mark}")
        if others:
            ways.append(self._terminal(others))
        return f"({' | '.join(ways)})"

    def _written(self, value: Any) -> str:
        """A value as a text."""
        notation = self._notation
        match value:
            case None | bool():
                return notation.words[json.dumps(value)]
            case str() if notation.quote:
                raise Undescribed("a text inside a list or an object that is given as a whole")
            case dict():
                form = notation.mapping
                items = (f"{form.key(key)}{form.colon}{self._written(one)}" for key, one in value.items())
                return form.open + notation.comma.join(items) + form.close
            case list():
                return f"[{notation.comma.join(map(self._written, value))}]"
        return json.dumps(value, ensure_ascii=False)

    def _terminal(self, texts: Sequence[str]) -> str:
        name = f"{self._name.upper()}_T{len(self.rules)}"
        self.rules.append(f"{name}: {lark.one_of_texts(tuple(dict.fromkeys(texts)))}")
        return name

    def _rule(self, right: str) -> str:
        name = f"{self._name}_r{len(self.rules)}"
        self.rules.append(f"{name}: {right}")
        return name

    def _once(self, key: str, write: Callable[[], str]) -> str:
        """A rule that is written the first time it is asked for, and may refer to itself."""
        if key not in self._known:
            self._known[key] = f"{self._name}_{key}"
            self.rules.append(f"{self._known[key]}: {write()}")
        return self._known[key]


def _refuse(schema: dict[str, Any], keywords: Iterable[str]) -> None:
    for keyword in keywords:
        if keyword in schema:
            raise Undescribed(f"an argument with {keyword!r}")


def _repeated(item: str, comma: str, low: int, high: int | None, *, begun: bool) -> str:
    """So many items with commas between them, and before them where something stands there already."""
    if begun:
        return f"({comma} {item}){{{low},{'' if high is None else high}}}"
    times = f"{{{max(0, low - 1)},{'' if high is None else high - 1}}}"
    some = item if high == 1 else f"{item} ({comma} {item}){times}"
    return some if low else f"({some})?"


def _fits(value: Any, types: set[str]) -> bool:
    match value:
        case None:
            return "null" in types
        case bool():
            return "boolean" in types
        case int() | float():
            return "number" in types or ("integer" in types and value == int(value))
        case str():
            return "string" in types
        case list():
            return "array" in types
    return "object" in types

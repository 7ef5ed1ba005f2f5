"""Gives an argument that was written as plain text the type that its tool's JSON Schema asks for."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from vllm_mlx.core.json_type import json_type
from vllm_mlx.parsing.python_literal import read_literal

Schema = Mapping[str, Any]
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can spell but no answer can carry."""

_MAX_DEPTH = 64
_MAX_PARTS = 256
_ANYTHING: Schema = {}
_LEADING_ZEROS = re.compile("-?0[0-9]{1,300}")
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_TYPES = ("null", "boolean", "integer", "number", "array", "object", "string")


class Argument:
    """What a tool's schema says of one value; None where it says nothing.

    Attributes:
        known: it says something.
    """

    def __init__(self, schema: Schema | None, rules: _Rules | None = None) -> None:
        self.known = schema is not None
        self._schema = schema
        self._rules = rules or _Rules(schema or {})
        self._members: Arguments | None = None

    @property
    def types(self) -> frozenset[str]:
        """Every JSON type that the schema allows; empty where it does not say."""
        return frozenset() if self._schema is None else self._rules.types(self._schema)

    def only_text(self) -> bool:
        """Whether every value is a string, so that text can be passed on before it is complete."""
        return self.types == {"string"}

    def takes_no_text(self) -> bool:
        """Whether the schema says which types there are, and text is none of them."""
        return _no_text(self.types)

    def item(self, place: int) -> Argument:
        """One item of the value, where that is a list."""
        return Argument(self._rules.item(self._schema, place), self._rules)

    def members(self) -> Arguments:
        """The members of the value, where that is an object."""
        if self._members is None:
            self._members = Arguments(self._schema, self._rules)
        return self._members

    def json_text(self, text: str) -> str:
        """The argument, written as plain text, as JSON text.

        What fits the schema's types best is taken, in the order null, boolean, integer, number, array,
        object, string; strings inside arrays and objects are typed the same way. Text that fits none of them
        stays a string, so that the caller sees what the model wrote. A number that clients cannot hold is
        text where text may stand, else the nearest that they can. Without a schema the text is read as JSON
        if it is JSON, else it is a string.
        """
        written = _written(_typed(text, self._schema, self._rules, 0, outer=True))
        return json.dumps(text, ensure_ascii=False) if written is None else written

    def typed_json(self, text: str) -> str:
        """A JSON value in which strings that cannot be strings have the type that the schema asks for.

        A text that is no JSON, or has the right types already, comes back as it is.
        """
        value = _read(text, None)
        typed = _typed(value, self._schema, self._rules, 0)
        written = None if value is None or typed == value else _written(typed)
        return text if written is None else written


class Arguments:
    """What a tool's schema says of the arguments of a call.

    A schema that many arguments have is looked at once for all of them: a caller's may be long, and a model
    may write many.
    """

    def __init__(self, schema: Schema | None, rules: _Rules | None = None) -> None:
        self._schema = schema if isinstance(schema, Mapping) else None
        self._rules = rules or _Rules(self._schema or {})
        self._found: dict[int, Argument] = {}

    def of(self, key: str) -> Argument:
        """One argument."""
        member = self._rules.member(self._schema, key)
        if member is None:
            return _UNTOLD
        found = self._found.get(id(member))
        if found is None:
            found = self._found[id(member)] = Argument(member, self._rules)
        return found

    def have_one_without_text(self) -> bool:
        """Whether a property of the schema takes no text."""
        return any(_no_text(self._rules.types(one)) for one in self._rules.properties(self._schema))


class _Inside(NamedTuple):
    """What a schema and its branches say of what a value holds, put together once: a list may be long.

    Attributes:
        named: members by their names.
        others: all other members.
        first: items at the first places.
        rest: all other items.
    """

    named: Mapping[str, Schema | None]
    others: Schema | None
    first: Sequence[Schema | None]
    rest: Schema | None


class _Rules:
    """What the parts of one schema allow.

    Each part is looked at once, however often others or values refer to it: a caller's schema may refer to
    itself from many places, and a model's list may be long.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root  # which keeps the parts alive whose addresses are remembered
        self._followed: dict[int, Schema] = {}
        self._types: dict[int, frozenset[str]] = {}
        self._texts: dict[int, frozenset[str]] = {}
        self._parts: dict[int, tuple[Schema, ...]] = {}
        self._insides: dict[int, _Inside] = {}

    def followed(self, schema: Schema) -> Schema:
        """The schema behind a chain of references into the tool's own definitions."""
        found = self._followed.get(id(schema))
        if found is None:
            found = self._followed[id(schema)] = _followed(schema, self._root)
        return found

    def types(self, schema: Schema, depth: int = 0) -> frozenset[str]:
        """Every JSON type that the schema allows; empty where it does not say."""
        schema = self.followed(schema)
        found = self._types.get(id(schema))
        if found is None:
            self._types[id(schema)] = frozenset()  # what it refers to may refer back
            found = self._types[id(schema)] = self._told_types(schema, depth)
        return found

    def texts(self, schema: Schema) -> frozenset[str]:
        """The texts among the values that the schema lists."""
        found = self._texts.get(id(schema))
        if found is None:
            texts = frozenset(one for one in _enum(schema) if isinstance(one, str))
            found = self._texts[id(schema)] = texts
        return found

    def member(self, schema: Schema | None, key: str) -> Schema | None:
        """What is said of a member of an object, by the schema or by a branch of it."""
        parts = self.parts(schema)
        if len(parts) == 1:  # nearly always
            return _mapping_or_none(_member(parts[0], key))
        inside = self._inside_of(parts)
        return inside.named.get(key, inside.others)

    def item(self, schema: Schema | None, place: int) -> Schema | None:
        """The same of an item of a list."""
        parts = self.parts(schema)
        if len(parts) == 1:
            return _mapping_or_none(_item(parts[0], place))
        inside = self._inside_of(parts)
        return inside.first[place] if place < len(inside.first) else inside.rest

    def properties(self, schema: Schema | None) -> Iterator[Schema]:
        """All that is said of members by their names."""
        for part in self.parts(schema):
            yield from (one for one in _mapping(part, "properties").values() if isinstance(one, Mapping))

    def parts(self, schema: Schema | None) -> tuple[Schema, ...]:
        """The schema and its branches, and theirs: each may say something of what a value holds."""
        if schema is None:
            return ()
        schema = self.followed(schema)
        found = self._parts.get(id(schema))
        if found is None:
            parts, pending = dict[int, Schema](), deque((schema,))
            while pending and len(parts) < _MAX_PARTS:
                part = self.followed(pending.popleft())
                if id(part) not in parts:
                    parts[id(part)] = part
                    pending += _branches(part)
            found = self._parts[id(schema)] = tuple(parts.values())
        return found

    def _inside_of(self, parts: tuple[Schema, ...]) -> _Inside:
        found = self._insides.get(id(parts))
        if found is None:
            places = range(max((len(_first_items(part)) for part in parts), default=0))
            found = self._insides[id(parts)] = _Inside(
                named=_members(parts),
                others=_union([part.get("additionalProperties") for part in parts]),
                first=[_union([_item(part, place) for part in parts]) for place in places],
                rest=_union([_item(part, len(places)) for part in parts]),
            )
        return found

    def _told_types(self, schema: Schema, depth: int) -> frozenset[str]:
        if depth > _MAX_DEPTH:
            return frozenset()
        told = schema.get("type")
        if isinstance(told, str):
            return frozenset((told,))
        if isinstance(told, list):
            return frozenset(one for one in told if isinstance(one, str))
        if values := _enum(schema):
            return frozenset().union(*map(_types_of, values))
        types: set[str] = set()
        for branch in _branches(schema):
            types |= self.types(branch, depth + 1)
        by_keyword = {"object"} if "properties" in schema else {"array"} if "items" in schema else ()
        return frozenset(types or by_keyword)


_UNTOLD: Final = Argument(None)


def _typed(value: Any, schema: Schema | None, rules: _Rules, depth: int, *, outer: bool = False) -> Any:
    """The value with the schema's types; `outer` for the text as the model wrote it."""
    if schema is None or depth > _MAX_DEPTH:
        return _read(value, value) if outer else value
    schema = rules.followed(schema)
    types = rules.types(schema)
    if isinstance(value, str):
        if not outer and ("string" in types or not types):
            return value
        value = _from_text(value, types or frozenset(_TYPES), rules.texts(schema))
    if isinstance(value, list):
        return [_typed(one, rules.item(schema, place), rules, depth + 1) for place, one in enumerate(value)]
    if isinstance(value, dict):
        return {key: _typed(one, rules.member(schema, key), rules, depth + 1) for key, one in value.items()}
    return value


def _branches(schema: Schema) -> list[Schema]:
    lists = [schema.get(keyword) for keyword in ("anyOf", "oneOf", "allOf")]
    return [
        one
        for branches in lists
        if isinstance(branches, list)
        for one in branches
        if isinstance(one, Mapping)
    ]


def _mapping(schema: Schema, keyword: str) -> Schema:
    found = schema.get(keyword)
    return found if isinstance(found, Mapping) else _ANYTHING


def _mapping_or_none(found: object) -> Schema | None:
    return found if isinstance(found, Mapping) else None


def _member(schema: Schema, key: str) -> object:
    """What one schema says of a member."""
    properties = _mapping(schema, "properties")
    return properties[key] if key in properties else schema.get("additionalProperties")


def _first_items(schema: Schema) -> list[Any]:
    """What one schema says of the first items; older drafts have that list in `items`."""
    items = schema.get("items")
    first = items if isinstance(items, list) else schema.get("prefixItems")
    return first if isinstance(first, list) else []


def _item(schema: Schema, place: int) -> object:
    first, items = _first_items(schema), schema.get("items")
    if place < len(first):
        return first[place]
    return schema.get("additionalItems") if isinstance(items, list) else items


def _members(parts: Sequence[Schema]) -> dict[str, Schema | None]:
    """What several schemas say of the members that they name."""
    said: dict[str, list[object]] = {}
    for part in parts:
        for name, one in _mapping(part, "properties").items():
            said.setdefault(name, []).append(one)
    return {name: _union(several) for name, several in said.items()}


def _union(schemas: Sequence[object]) -> Schema | None:
    """One schema for what several places say; what allows a text in one of them may be a text."""
    told = {id(one): one for one in schemas if isinstance(one, Mapping)}
    if len(told) < 2:
        return next(iter(told.values()), None)
    return {"anyOf": list(told.values())}


def _no_text(types: frozenset[str]) -> bool:
    return bool(types) and "string" not in types


def _from_text(text: str, types: frozenset[str], texts: frozenset[str]) -> Any:
    if text in texts:
        return text
    bare = text.strip()
    if not types - {"string"}:
        return text
    value = _read(bare, text, _finite if "string" in types else _nearest)
    if value is text and "string" not in types and _LEADING_ZEROS.fullmatch(bare):
        value = int(bare)
    if isinstance(value, str) and bare[:1] in ("[", "{"):
        value = _read_python(bare, text)
    if "boolean" in types or "null" in types:
        value = _WORDS.get(bare.lower(), value) if isinstance(value, str) else value
    if isinstance(value, float) and value.is_integer() and "number" not in types and "integer" in types:
        value = int(value)
    return value if _types_of(value) & types else text


def _read_python(text: str, otherwise: str) -> Any:
    """A list or a mapping as Python shows it: templates that do not ask for JSON teach models to write so."""
    try:
        value = read_literal(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError):
        return otherwise
    return value


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is no number of JSON's")
    return value


def _nearest(number: str) -> float:
    """For where no text may stand: a call that was forced has to be valid, and grammars bound no exponent."""
    value = float(number)
    return value if math.isfinite(value) else math.copysign(sys.float_info.max, value)


def _read(text: str, otherwise: Any, parse_float: Callable[[str], float] = _finite) -> Any:
    """The text as JSON, if it is JSON that a client can read."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=parse_float)
    except (ValueError, RecursionError):
        return otherwise


def _written(value: Any) -> str | None:
    """The value as JSON that an answer can carry; None where it is too deep to be written."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return None
    return LONE_SURROGATE.sub("\ufffd", text)


def _types_of(value: Any) -> set[str]:
    integer = isinstance(value, int) and not isinstance(value, bool)
    return {json_type(value), "integer"} if integer else {json_type(value)}


def _enum(schema: Schema) -> list[Any]:
    values = schema.get("enum")
    if isinstance(values, list):
        return values
    return [schema["const"]] if "const" in schema else []


def _followed(schema: Schema, root: Schema) -> Schema:
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return schema
        found: Any = root
        for part in reference.split("/")[1:]:
            found = found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            return _ANYTHING
        schema = found
    return _ANYTHING

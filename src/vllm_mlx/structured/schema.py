"""Reads a JSON Schema as a caller wrote it, bounds it, and leaves what a grammar can enforce.

The result is a schema of draft 2020-12 with a few keywords, `$ref`s into its own `$defs` only, and nothing in
it that a grammar would quietly ignore. The table in `structured.keywords` tells what is treated how.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.structured.disjoint import can_end, nothing_fits_two
from vllm_mlx.structured.keywords import ENFORCED_FORMATS, KEYWORDS, REFUSED_FORMATS
from vllm_mlx.structured.loosening import SHAPE, Exactness, open_up
from vllm_mlx.structured.pattern import check_repeats

MAX_SCHEMA_CHARS = 2 * 2**20
MAX_DEPTH = 64
MAX_SUBSCHEMAS = 4096
MAX_ENUM_VALUES = 100_000
MAX_COMPOSED_ITEMS = 20_000
"""In lists and objects among values. The time of the library grows with their square: 6 s for 100,000."""
MAX_REFS = 4096
MAX_DEFINITIONS = 1000
MAX_BRANCHES = 256
MAX_PATTERNS = 128
MAX_PATTERN_CHARS = 4096
MAX_PATTERN_PROPERTIES = 16
MAX_LENGTH = 1_000_000
MAX_EXACT = 2**53
"""Beyond it a double does not hold every integer."""

_WIDEST = 2.0**63 - 1024
"""The largest double below 2^63: the library's integers have 64 bits."""
_UNWRITABLE = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")
"""See `lark.ESCAPES`."""
_TYPES = ("null", "boolean", "number", "integer", "string", "array", "object")

Schema = dict[str, Any] | bool


def read_schema(schema: Any, exactness: Exactness = "exact") -> Schema:
    """Check a schema and bring it into its plain form, its `$defs` included.

    Args:
        exactness: `loose` leaves out, where it stands, each keyword that would be refused, so that every
            valid value stays one; `shape` leaves out as well what only a compiler can judge: patterns, counts
            of properties, parts to be merged.

    Raises:
        InvalidRequest: it is no schema, too large, or says something that cannot be honoured; the message
            names the place and the keyword. If loose: it is too large, or nothing is valid.
    """
    _measure(schema)
    return _Reader(schema, exactness).read()


def _measure(schema: Any) -> None:
    """Refuse what is too deep or too long before anything recursive looks at it."""
    chars, pending = 0, [(schema, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"the schema nests deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            chars += sum(map(len, value))
            pending += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            if depth < MAX_DEPTH and _are_texts(value):
                chars += sum(map(len, value))
            else:
                pending += [(item, depth + 1) for item in value]
        else:
            chars += len(value) if isinstance(value, str) else 4
        if chars > MAX_SCHEMA_CHARS:
            raise InvalidRequest(f"the schema has more than {MAX_SCHEMA_CHARS} characters")


def _are_texts(values: list[Any]) -> bool:
    """Whether all are strings. A list may have 100,000: a look at each, under the lock of Python, is felt."""
    return set(map(type, values)) <= {str}


class _Reader:
    """One schema being read; counts what it holds."""

    def __init__(self, root: Any, exactness: Exactness) -> None:
        self._root = root
        self._exact = exactness == "exact"
        self._only = SHAPE if exactness == "shape" else None
        self._subschemas = self._values = self._required = self._items = self._refs = self._patterns = 0
        self._names: dict[str, str] = {}  # pointer -> name in `$defs`
        self._pending: list[str] = []
        self._one_ofs: list[tuple[list[Schema], str]] = []

    def read(self) -> Schema:
        plain = self._schema(self._root, "")
        defs: dict[str, Schema] = {}
        while self._pending:
            pointer = self._pending.pop()
            defs[self._names[pointer]] = self._schema(self._at(pointer), pointer)
        for branches, where in self._one_ofs:
            if self._exact and not nothing_fits_two(branches, defs):
                raise _wrong(
                    where, "a value may fit several branches, which a grammar cannot prevent; use anyOf"
                )
        if not can_end(plain, defs):
            raise InvalidRequest(
                "no value is valid against the schema: it is false, or requires itself without end"
            )
        if defs and isinstance(plain, dict):
            plain = plain | {"$defs": defs}
        return plain

    # One schema, and the kinds of places where schemas stand.

    def _schema(self, schema: Any, where: str) -> Schema:
        self._subschemas += 1
        if self._subschemas > MAX_SUBSCHEMAS:
            raise InvalidRequest(f"the schema has more than {MAX_SUBSCHEMAS} subschemas")
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            if not self._exact:
                return True
            raise _wrong(where, "a schema must be an object, true or false")
        if not self._exact and where and "$id" in schema:
            # References within it lead elsewhere than they seem to.
            schema = {"type": schema["type"]} if "type" in schema else {}
        plain: dict[str, Any] = {}
        left_out = []
        for keyword, value in schema.items():
            try:
                self._keyword(plain, schema, where, keyword, value)
            except _Refusal:
                if self._exact:
                    raise
                left_out.append(keyword)
        open_up(plain, left_out)
        return self._joined(plain, where)

    def _keyword(
        self, plain: dict[str, Any], schema: dict[str, Any], where: str, keyword: str, value: Any
    ) -> None:
        treatment = KEYWORDS[keyword].treatment if keyword in KEYWORDS else "not used"
        if (treatment == "refused" and keyword not in _READERS) or (keyword == "$id" and where):
            remark = KEYWORDS[keyword].remark
            raise _wrong(
                where, f"the keyword {keyword!r} is not supported" + (f"; {remark}" if remark else "")
            )
        if self._only is not None and keyword not in self._only:
            raise _wrong(where, f"the keyword {keyword!r} is left out")
        if keyword in _READERS:
            _READERS[keyword](self, plain, schema, f"{where}/{keyword}", value)

    def _joined(self, plain: dict[str, Any], where: str) -> Schema:
        """The keywords that count together."""
        types = plain.get("type")
        try:
            _merge_type(plain, where)
        except _Refusal:
            if self._exact:
                raise
            return {"type": types}
        if plain.get("minProperties", 0) > len(plain.get("required", ())) + 1:
            if self._exact:
                raise _wrong(
                    where, "minProperties may be at most one above the number of required properties"
                )
            del plain["minProperties"]
            open_up(plain, ["minProperties"])
        return plain

    def _list_of_schemas(self, value: Any, where: str, *, branches: bool = False) -> list[Schema]:
        if not isinstance(value, list) or (branches and not value):
            raise _wrong(where, "must be a list of schemas")
        if branches and len(value) > MAX_BRANCHES:
            raise _wrong(where, f"may have at most {MAX_BRANCHES} branches")
        return [self._schema(item, f"{where}/{i}") for i, item in enumerate(value)]

    def _named_schemas(self, value: Any, where: str) -> dict[str, Schema]:
        if not isinstance(value, dict):
            raise _wrong(where, "must be an object of schemas")
        return {name: self._schema(item, f"{where}/{_escape(name)}") for name, item in value.items()}

    # Keywords. Each puts its plain form into `plain`; `given` is the schema that it stands in.

    def type(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or any(name not in _TYPES for name in names):
            raise _wrong(where, f"must be one or several of {', '.join(_TYPES)}")
        plain["type"] = names[0] if len(names) == 1 else list(dict.fromkeys(names))

    def enum(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        if not isinstance(value, list) or not value:
            raise _wrong(where, "must be a list of values")
        self._values += len(value)
        if self._values > MAX_ENUM_VALUES:
            raise _wrong(where, f"a schema may list at most {MAX_ENUM_VALUES} values")
        if _are_texts(value):
            _check_writable("".join(value), where)
            plain["enum"] = value
        else:
            plain["enum"] = [self._literal(item, where) for item in value]

    def const(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        plain["const"] = self._literal(value, where)

    def _literal(self, value: Any, where: str) -> Any:
        if isinstance(value, dict | list):
            self._items += len(value)
            if self._items > MAX_COMPOSED_ITEMS:
                raise _wrong(where, f"lists and objects may hold at most {MAX_COMPOSED_ITEMS} values")
            self._subschemas += 1  # it costs as much as one
            if self._subschemas > MAX_SUBSCHEMAS:
                raise InvalidRequest(
                    f"the schema has more than {MAX_SUBSCHEMAS} subschemas and composed values"
                )
            if isinstance(value, list):
                return [self._literal(item, where) for item in value]
            return {name: self._literal(item, where) for name, item in value.items()}
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not abs(value) <= MAX_EXACT:
                raise _wrong(where, f"numbers must lie within {MAX_EXACT}, where doubles are exact")
            return int(value) if value == int(value) else value
        if isinstance(value, str):
            _check_writable(value, where)
        return value

    def all_of(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        plain["allOf"] = self._list_of_schemas(value, where, branches=True)

    def any_of(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        branches = self._list_of_schemas(value, where, branches=True)
        _put_any_of(plain, branches)

    def one_of(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        branches = self._list_of_schemas(value, where, branches=True)
        self._one_ofs.append((branches, where))
        _put_any_of(plain, branches)

    def ref(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        self._refs += 1
        if self._refs > MAX_REFS:
            raise InvalidRequest(f"the schema has more than {MAX_REFS} references")
        if not isinstance(value, str):
            raise _wrong(where, "must be a string")
        root_id = self._root.get("$id") if isinstance(self._root, dict) else None
        local = value.removeprefix(root_id) if isinstance(root_id, str) and root_id else value
        pointer = unquote(local.removeprefix("#"))
        if not local.startswith("#") or not (pointer == "" or pointer.startswith("/")):
            raise _wrong(
                where, f"{value[:80]!r} is no pointer into this schema; nothing else is followed or fetched"
            )
        self._at(pointer, where)
        if pointer not in self._names:
            if len(self._names) == MAX_DEFINITIONS:
                raise InvalidRequest(f"the schema refers to more than {MAX_DEFINITIONS} places")
            self._names[pointer] = f"d{len(self._names)}"
            self._pending.append(pointer)
        plain["$ref"] = f"#/$defs/{self._names[pointer]}"

    def _at(self, pointer: str, where: str = "") -> Any:
        """What a JSON pointer (RFC 6901) points at."""
        value = self._root
        for step in pointer.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step[:9]) < len(value):
                value = value[int(step[:9])]
            else:
                raise _wrong(where, f"{pointer[:80]!r} points at nothing")
        return value

    def properties(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        plain["properties"] = self._named_schemas(value, where)

    def required(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        if value is True or value is False:
            return  # draft 3 put it on the property; later drafts do not know it there
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise _wrong(where, "must be a list of names")
        self._required += len(value)
        if self._required > MAX_ENUM_VALUES or len(value) > MAX_SUBSCHEMAS:
            raise _wrong(where, f"lists more than {MAX_SUBSCHEMAS} names")
        plain["required"] = list(dict.fromkeys(value))

    def additional_properties(
        self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any
    ) -> None:
        plain["additionalProperties"] = self._schema(value, where)

    def pattern_properties(
        self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any
    ) -> None:
        schemas = self._named_schemas(value, where)
        if len(schemas) > MAX_PATTERN_PROPERTIES:
            raise _wrong(where, f"may have at most {MAX_PATTERN_PROPERTIES} patterns")
        for pattern in schemas:
            self._count_pattern(pattern, where)
        plain["patternProperties"] = schemas

    def items(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        if not isinstance(value, list):
            plain["items"] = self._schema(value, where)
            return
        if "prefixItems" in given:
            raise _wrong(where, "must be one schema beside prefixItems")
        plain["prefixItems"] = self._list_of_schemas(value, where)
        if "additionalItems" in given:
            plain["items"] = self._schema(given["additionalItems"], f"{where[:-6]}/additionalItems")

    def additional_items(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        """Counts beside a list in `items` only, which reads it."""

    def prefix_items(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        plain["prefixItems"] = self._list_of_schemas(value, where)

    def count(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        """`minItems` and its like."""
        keyword = where.rpartition("/")[2]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise _wrong(where, "must be a count")
        if value > MAX_LENGTH and keyword.startswith("min"):
            raise _wrong(where, f"may be at most {MAX_LENGTH}")
        # More than this no answer can have; the grammar's own limit is 32 bits.
        plain[keyword] = min(value, 2**31)

    def pattern(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        if not isinstance(value, str):
            raise _wrong(where, "must be a string")
        self._count_pattern(value, where)
        plain["pattern"] = value

    def _count_pattern(self, pattern: str, where: str) -> None:
        self._patterns += 1
        if self._patterns > MAX_PATTERNS:
            raise _wrong(where, f"a schema may have at most {MAX_PATTERNS} patterns")
        if len(pattern) > MAX_PATTERN_CHARS:
            raise _wrong(where, f"a pattern may have at most {MAX_PATTERN_CHARS} characters")
        try:
            check_repeats(pattern)
        except InvalidRequest as error:
            raise _wrong(where, error.message) from None

    def format(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        if not isinstance(value, str):
            raise _wrong(where, "must be a string")
        if value in REFUSED_FORMATS:
            raise _wrong(where, f"the format {value!r} is not supported")
        if value in ENFORCED_FORMATS:
            self._count_pattern(value, where)
            plain["format"] = value

    def bound(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        """`minimum`, `maximum` and their exclusive forms, draft 4's booleans among them."""
        keyword = where.rpartition("/")[2]
        if isinstance(value, bool) and keyword.startswith("exclusive"):
            inclusive = keyword.removeprefix("exclusive").lower()
            if value and inclusive in given:
                self.bound(plain, {}, f"{where[: -len(keyword)]}{inclusive}", given[inclusive])
                plain[keyword] = plain.pop(inclusive)
            return
        if keyword in ("minimum", "maximum") and given.get(f"exclusive{keyword.title()}") is True:
            return
        plain[keyword] = _inward(_number(value, where), where, upper=keyword.lower().endswith("maximum"))

    def multiple_of(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        number = _number(value, where)
        if not 0 < number <= MAX_EXACT:
            raise _wrong(where, f"must be above 0 and at most {MAX_EXACT}")
        plain["multipleOf"] = int(number) if number == int(number) else number

    def unique_items(self, plain: dict[str, Any], given: dict[str, Any], where: str, value: Any) -> None:
        if not isinstance(value, bool):
            raise _wrong(where, "must be true or false")
        most = given.get("maxItems")
        if value and not (isinstance(most, int) and most <= 1):
            raise _wrong(
                where,
                "is not supported: a grammar cannot remember items; leave it out, or allow one item at most "
                "(maxItems: 1)",
            )


_READERS: dict[str, Callable[[_Reader, dict[str, Any], dict[str, Any], str, Any], None]] = {
    "type": _Reader.type,
    "enum": _Reader.enum,
    "const": _Reader.const,
    "allOf": _Reader.all_of,
    "anyOf": _Reader.any_of,
    "oneOf": _Reader.one_of,
    "$ref": _Reader.ref,
    "properties": _Reader.properties,
    "required": _Reader.required,
    "additionalProperties": _Reader.additional_properties,
    "patternProperties": _Reader.pattern_properties,
    "items": _Reader.items,
    "additionalItems": _Reader.additional_items,
    "prefixItems": _Reader.prefix_items,
    "pattern": _Reader.pattern,
    "format": _Reader.format,
    "multipleOf": _Reader.multiple_of,
    "uniqueItems": _Reader.unique_items,
    **dict.fromkeys(
        ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"), _Reader.count
    ),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _Reader.bound),
}


def _put_any_of(plain: dict[str, Any], branches: list[Schema]) -> None:
    """A schema has one `anyOf`; a second one stands in `allOf`, after what is there."""
    if "anyOf" in plain:
        plain["allOf"] = [*plain.get("allOf", ()), {"anyOf": branches}]
    else:
        plain["anyOf"] = branches


def _merge_type(plain: dict[str, Any], where: str) -> None:
    """Values of other types leave the list of values, which says the type by itself then: much cheaper."""
    if "type" not in plain or not ("enum" in plain or "const" in plain):
        return
    types = plain.pop("type")
    types = [types] if isinstance(types, str) else types
    if "const" in plain and not any(_is(plain["const"], name) for name in types):
        raise _wrong(where, "const is not of the type that is asked for")
    if "enum" in plain:
        if not ("string" in types and _are_texts(plain["enum"])):
            plain["enum"] = [value for value in plain["enum"] if any(_is(value, name) for name in types)]
        if not plain["enum"]:
            raise _wrong(where, "no value of enum is of the type that is asked for")


def _is(value: Any, name: str) -> bool:
    match name:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "array": list, "object": dict}[name])


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise _wrong(where, "must be a number")
    if isinstance(value, int) and abs(value) > 2**1000:
        raise _wrong(where, "is too large a number")
    return value


def _inward(value: float, where: str, *, upper: bool) -> float:
    """The nearest number that a double and 64 bits hold and that lies within the bound."""
    near = min(max(float(value), -_WIDEST), _WIDEST)
    if upper and near > value:
        near = math.nextafter(near, -math.inf)
    elif not upper and near < value:
        near = math.nextafter(near, math.inf)
    if abs(near) > _WIDEST:
        raise _wrong(where, f"must lie within {int(_WIDEST)}")
    return int(near) if near == int(near) else near


def _check_writable(text: str, where: str) -> None:
    if _UNWRITABLE.search(text):
        raise _wrong(where, "holds a control character that has no short escape in JSON; none can be written")


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


class _Refusal(InvalidRequest):
    """What is wrong stands in one place; without it the rest may do."""


def _wrong(where: str, reason: str) -> _Refusal:
    """The place is a JSON pointer, shortened: the caller's names come back to the caller only."""
    place = where if len(where) <= 120 else f"...{where[-117:]}"
    return _Refusal(f"schema{place and ' at ' + json.dumps(place, ensure_ascii=False)}: {reason}")

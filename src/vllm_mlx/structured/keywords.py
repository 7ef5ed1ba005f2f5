"""What becomes of each JSON-Schema keyword: the reference page is made from this table."""

from __future__ import annotations

from typing import Literal, NamedTuple

Treatment = Literal["enforced", "refused", "not used"]


class Keyword(NamedTuple):
    """How a keyword is treated, and what there is to say about it."""

    treatment: Treatment
    remark: str = ""


_ENFORCED = Keyword("enforced")
_IDLE = Keyword("not used", "says nothing about which values are valid")
_REFUSED = Keyword("refused")

KEYWORDS: dict[str, Keyword] = {
    "type": Keyword("enforced", "one name or a list"),
    "enum": Keyword(
        "enforced", "at most 100,000 values in a schema, and 20,000 within lists and objects among them"
    ),
    "const": _ENFORCED,
    "allOf": Keyword("enforced", "the parts are merged into one schema; parts that cannot be are refused"),
    "anyOf": _ENFORCED,
    "oneOf": Keyword(
        "enforced",
        "where it is plain that no value fits two branches: their types, their values or those of a property "
        "that one of them requires differ; otherwise refused",
    ),
    "$ref": Keyword(
        "enforced",
        "`#` and JSON pointers into the same document, recursion included; nothing is ever fetched",
    ),
    "properties": Keyword("enforced", "in the order of the schema"),
    "required": Keyword("enforced", "names that `properties` lacks come after those it has"),
    "additionalProperties": Keyword(
        "enforced", "after the listed properties; a name may come twice, as JSON allows"
    ),
    "patternProperties": Keyword("enforced", "at most 16 an object, and no two that can match one name"),
    "minProperties": Keyword(
        "enforced",
        "where every listed property is required, or it is 1 and no others are allowed; at most one above "
        "the number of required properties, because the names of others may repeat",
    ),
    "maxProperties": Keyword(
        "enforced", "where every listed property is required, or it is 1 and no others are allowed"
    ),
    "items": Keyword("enforced", "the older form with a list is read as `prefixItems`"),
    "prefixItems": _ENFORCED,
    "additionalItems": Keyword("enforced", "beside a list in `items`, as in older drafts"),
    "minItems": _ENFORCED,
    "maxItems": _ENFORCED,
    "minLength": Keyword(
        "enforced", "in Unicode characters, at most 1,000,000; so are the other least counts"
    ),
    "maxLength": Keyword("enforced", "in Unicode characters"),
    "pattern": Keyword("enforced", "see the dialect of patterns"),
    "format": Keyword("enforced", "see the formats"),
    "minimum": Keyword("enforced", "rounded inwards to a double, and to 64 bits"),
    "maximum": Keyword("enforced", "as `minimum`"),
    "exclusiveMinimum": Keyword("enforced", "a number, or true beside `minimum` as in draft 4"),
    "exclusiveMaximum": Keyword("enforced", "as `exclusiveMinimum`"),
    "multipleOf": Keyword("enforced", "above 0"),
    "uniqueItems": Keyword(
        "refused", "where more than one item is allowed: a grammar cannot remember items; false is accepted"
    ),
    "not": _REFUSED,
    "if": _REFUSED,
    "then": _REFUSED,
    "else": _REFUSED,
    "contains": _REFUSED,
    "minContains": _REFUSED,
    "maxContains": _REFUSED,
    "propertyNames": Keyword("refused", "use `patternProperties`"),
    "dependencies": _REFUSED,
    "dependentRequired": _REFUSED,
    "dependentSchemas": _REFUSED,
    "unevaluatedItems": Keyword("refused", "use `items`"),
    "unevaluatedProperties": Keyword("refused", "use `additionalProperties`"),
    "$dynamicRef": Keyword("refused", "use `$ref`"),
    "$recursiveRef": Keyword("refused", "use `$ref`"),
    "x-guidance": Keyword("refused", "the form of whitespace is the server's"),
    "$id": Keyword("not used", "refused below the root, where it would change what a `$ref` means"),
    "id": Keyword("not used", "as in draft 4"),
    "$schema": Keyword("not used", "all drafts from 4 on are read alike"),
    "$defs": Keyword("not used", "what `$ref` points at counts"),
    "definitions": Keyword("not used", "as `$defs`"),
    "$anchor": Keyword("not used", "a `$ref` to an anchor is refused"),
    "$dynamicAnchor": _IDLE,
    "$comment": _IDLE,
    "$vocabulary": _IDLE,
    "title": _IDLE,
    "description": _IDLE,
    "default": _IDLE,
    "examples": _IDLE,
    "deprecated": _IDLE,
    "readOnly": _IDLE,
    "writeOnly": _IDLE,
    "contentEncoding": _IDLE,
    "contentMediaType": _IDLE,
    "contentSchema": _IDLE,
}
"""Keywords of the drafts 4 to 2020-12. Any other name is an annotation, as JSON Schema has it."""

ENFORCED_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
)

REFUSED_FORMATS = frozenset(
    (
        "idn-email",
        "idn-hostname",
        "iri",
        "iri-reference",
        "json-pointer",
        "regex",
        "relative-json-pointer",
        "uri-reference",
        "uri-template",
    )
)
"""Formats that JSON Schema defines and no grammar here knows; other names are annotations."""

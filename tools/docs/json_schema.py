"""The reference of JSON-Schema keywords: from the table that the server reads schemas by."""

from __future__ import annotations

from vllm_mlx.structured import schema
from vllm_mlx.structured.keywords import ENFORCED_FORMATS, KEYWORDS, REFUSED_FORMATS

HEAD = """# JSON Schema

What `response_format` of type `json_schema`, `guided_json`, structural tags, strict tools and forced calls
make of a schema. A keyword is *enforced*: no other answer can be written; *refused*: the request is
answered 400 with the keyword's name and place, but in a tool that is not strict it is left out; or
*not used*: it says nothing about which values are valid. Keywords that JSON Schema does not know are not
used.
Nothing is checked after the answer: what is accepted is enforced.

Made from `src/vllm_mlx/structured/keywords.py` by `make docs`.

## Keywords

| keyword | treatment | remark |
| --- | --- | --- |
"""

FORMATS = """
## Formats

Enforced: {enforced}.

Refused: {refused}.

Any other format is an annotation, as JSON Schema has it. `date` and `date-time` allow February 29 in each
year.
"""

PATTERNS = """
## Patterns

`pattern`, `patternProperties` and regular expressions are written in the dialect of Rust's
[regex](https://docs.rs/regex/latest/regex/#syntax), which has no look-around and no backreferences. A
`pattern` need match a part of the text only, unless `^` and `$` say otherwise, and its `\\d` and `\\w` are
those of ASCII, as in JSON Schema; a regular expression must match the whole answer, and its classes are those
of Unicode. `^` and `$` stand at the ends only. Nothing may have to repeat more than 100,000 times.

## The text

Properties come in the order of the schema; others follow. Between the marks of JSON there may be one space,
or a line break and an indent of up to 24 spaces or tabs. A character of a string is written as itself
where JSON allows that, and escaped where it must be, but never by its number: `\\u0061` would be another way
to write the name `a`. So only those control characters can be written that have a short escape (`\\n`, `\\t`
and their like). Whole numbers are written without a fraction.

## Limits

| of a schema | at most |
| --- | --- |
"""


def page() -> str:
    """The page."""
    rows = [f"| `{name}` | {word.treatment} | {word.remark} |" for name, word in KEYWORDS.items()]
    limits = {
        "characters of names and texts": schema.MAX_SCHEMA_CHARS,
        "levels of nesting": schema.MAX_DEPTH,
        "subschemas, and lists and objects in `enum` and `const`": schema.MAX_SUBSCHEMAS,
        "values in all its `enum`s": schema.MAX_ENUM_VALUES,
        "uses of `$ref`": schema.MAX_REFS,
        "places that `$ref`s point at": schema.MAX_DEFINITIONS,
        "branches of an `anyOf`, `oneOf` or `allOf`": schema.MAX_BRANCHES,
        "patterns": schema.MAX_PATTERNS,
        "characters of a pattern": schema.MAX_PATTERN_CHARS,
    }
    return (
        HEAD
        + "\n".join(rows)
        + "\n"
        + FORMATS.format(enforced=_names(ENFORCED_FORMATS), refused=_names(REFUSED_FORMATS))
        + PATTERNS
        + "\n".join(f"| {what} | {most:,} |" for what, most in limits.items())
        + "\n"
    )


def _names(names: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))

"""From a constraint to the text of a grammar."""

from __future__ import annotations

from typing import NamedTuple

from vllm_mlx.core.constraints import (
    Choice,
    Constraint,
    JsonObject,
    JsonSchema,
    Lark,
    Regex,
    StructuralTag,
    StructuralTags,
)
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.structured import lark
from vllm_mlx.structured.lark import SpecialId
from vllm_mlx.structured.pattern import check_repeats
from vllm_mlx.structured.schema import MAX_ENUM_VALUES, MAX_SCHEMA_CHARS, read_schema
from vllm_mlx.structured.written import read_lark

MAX_REGEX_CHARS = 16 * 1024
MAX_TAGS = 256


class Answer(NamedTuple):
    """The form of an answer as a part of a grammar.

    Attributes:
        body: what stands on the right of a rule.
        terminals: definitions that the body refers to.
    """

    body: str
    terminals: tuple[str, ...] = ()


def grammar_of(
    constraint: Constraint, special_id: SpecialId, output_format: OutputFormat | None = None
) -> str:
    """The grammar of exactly the texts that meet a constraint.

    Args:
        special_id: tells the model's control tokens from text.
        output_format: the markup that an answer stands in; None for none.

    Raises:
        InvalidRequest: the constraint is no proper one, too large, or cannot be put as a grammar.
    """
    opening = answer_opening(output_format, special_id) if output_format is not None else ""
    if (
        output_format is not None
        and output_format.channels is not None
        and isinstance(constraint, Lark | StructuralTags)
    ):
        raise InvalidRequest(
            f"a grammar or structural tags cannot stand in this model's output format ({output_format.name})"
        )
    match constraint:
        case Lark(text=text):
            return read_lark(text)
        case StructuralTags():
            return _tagged(constraint, special_id)
    answer = answer_of(constraint)
    return "\n".join((f"start: {opening} {answer.body}", *answer.terminals))


def answer_opening(output_format: OutputFormat, special_id: SpecialId) -> str:
    """What the family writes before an answer, as what may stand in a rule; "" for most."""
    channels = output_format.channels
    if channels is None:
        # The prompt or the end of a thought may have written it already.
        return f"({lark.markup(output_format.answer_open, special_id)})?" if output_format.answer_open else ""
    return part_opening(output_format, channels.answer_open, special_id)


def part_opening(output_format: OutputFormat, text: str, special_id: SpecialId) -> str:
    """What opens a part of an output in channels, as what may stand in a rule."""
    channels = output_format.channels
    if channels is None or not channels.starts_inside:
        return lark.markup(text, special_id)
    # The prompt has written the beginning, as it has for a call; some models repeat it.
    begun = output_format.calls[0].call_open
    rest = lark.markup(text.removeprefix(begun), special_id)
    return f"({lark.markup(begun, special_id)})? {rest}"


def answer_of(constraint: Constraint) -> Answer:
    """The same as a part of a larger grammar.

    Raises:
        InvalidRequest: and also for constraints that are a whole grammar themselves.
    """
    match constraint:
        case JsonObject():
            return Answer(lark.json_value({"type": "object"}))
        case JsonSchema(schema=schema):
            return Answer(lark.json_value(read_schema(schema)))
        case Regex(pattern=pattern):
            if len(pattern) > MAX_REGEX_CHARS:
                raise InvalidRequest(f"the regular expression has more than {MAX_REGEX_CHARS} characters")
            check_repeats(pattern)
            return Answer("ANSWER", (f"ANSWER: {lark.regex(pattern)}",))
        case Choice(options=options):
            return Answer("ANSWER", (f"ANSWER: {_choices(options)}",))
    raise InvalidRequest("this form of an answer cannot be combined with tools; set tool_choice to none")


def _choices(options: tuple[str, ...]) -> str:
    if not options:
        raise InvalidRequest("there must be at least one text to choose from")
    if len(options) > MAX_ENUM_VALUES:
        raise InvalidRequest(f"at most {MAX_ENUM_VALUES} texts to choose from are allowed")
    if sum(map(len, options)) > MAX_SCHEMA_CHARS:
        raise InvalidRequest(f"the texts to choose from have more than {MAX_SCHEMA_CHARS} characters")
    return lark.one_of_texts(tuple(dict.fromkeys(options)))


def _tagged(tags: StructuralTags, special_id: SpecialId) -> str:
    if not tags.tags or len(tags.tags) > MAX_TAGS:
        raise InvalidRequest(f"there must be between 1 and {MAX_TAGS} structural tags")
    by_trigger: dict[str, list[StructuralTag]] = {trigger: [] for trigger in tags.triggers}
    if not by_trigger or "" in by_trigger:
        raise InvalidRequest("there must be triggers, and none may be empty")
    for tag in tags.tags:
        fitting = [trigger for trigger in by_trigger if tag.begin.startswith(trigger)]
        if len(fitting) != 1:
            raise InvalidRequest(f"the tag {tag.begin[:80]!r} must begin with exactly one of the triggers")
        by_trigger[fitting[0]].append(tag)
    blocks = []
    for trigger, members in by_trigger.items():
        if members:
            bodies = [_tag_body(tag, trigger, special_id) for tag in members]
            blocks.append((trigger, "(" + " | ".join(bodies) + ")"))
    return text_with(blocks, special_id)


def _tag_body(tag: StructuralTag, trigger: str, special_id: SpecialId) -> str:
    rest = lark.markup(tag.begin.removeprefix(trigger), special_id)
    return f"{rest} {lark.json_value(read_schema(tag.schema))} {lark.markup(tag.end, special_id)}"


def text_with(blocks: list[tuple[str, str]], special_id: SpecialId, *, most: int | None = None) -> str:
    """Free text in which each of some triggers must be followed by something.

    Args:
        blocks: triggers, and the right side of a rule for what must follow.
        most: how many blocks there may be; the text ends with the last of them. None for any number.
    """
    rules = []
    for i, (trigger, body) in enumerate(blocks):
        mark = lark.markup(trigger, special_id)
        if mark.startswith('"') and mark == lark.literal(trigger):
            rules.append(f"block_{i}: trigger_{i} {body}")
            rules.append(f"trigger_{i}[lazy]: TEXT {mark}")  # it ends where the trigger first does
        elif mark.startswith("<["):  # a control token, which no text spells
            rules.append(f"block_{i}: TEXT {mark} {body}")
        else:
            raise InvalidRequest(f"the trigger {trigger[:80]!r} mixes text and control tokens of this model")
    names = " | ".join(f"block_{i}" for i in range(len(blocks)))
    start = f"({names})* tail" if most is None else f"tail | ({names}){{1,{most}}}"
    return "\n".join((f"start: {start}", "tail: TEXT", *rules, f"TEXT: {lark.ANY_TEXT}"))

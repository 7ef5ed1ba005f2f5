"""Named values as running text, lines, lists and tables: many ways to say that a key has a value."""
# ruff: noqa: E501

import json
from collections.abc import Callable
from typing import Any

from tools.demo_model.bank import Bank
from tools.demo_model.frames import ask_deed, ask_thing
from tools.demo_model.grammar import LITTLE, WORDS, Rng, carriers, expand, invent

LINKS = tuple(
    """is|is|is|was|are|will be|has been|equals|equals|is equal to|amounts to|comes to|reads|says|shows|stays at|remains|became|becomes|turned out to be
is set to|was set to|is given as|is listed as|stands at|goes by|goes by the name of|is called|is named|is known as|lies at|sits at|seems to be|happens to be
must be|should be|ought to be|measures|counts|totals|makes|holds|contains|states|means|refers to|points to|is now|is still|is only|is just|is exactly|is about
has the value|is recorded as|was noted as|appears as|is written as|is stored as|is marked as|is put at|is fixed at|runs to|adds up to|corresponds to|consists of
is defined as|is described as|is found to be|is said to be|has become|would be|can be|may be|might be|gives|yields|displays|indicates|bears|carries|represents
belongs to|comes from|came out as|came to|got|gets|is due to be|=|=|==|:|:|->|=>|-|\u2013|is:|was:|being""".replace(
        "\n", "|"
    ).split("|")
)
# {k} the key, {v} the value
SENTENCES = (
    "{k} {L} {v}",
    "the {k} {L} {v}",
    "its {k} {L} {v}",
    "{a} {k} {L} {v}",
    "the {k} of {o} {L} {v}",
    "the {k} ({v})",
    "{k}: {v}",
    "{k}:{v}",
    "{k} = {v}",
    "{k}={v}",
    "{k} {v}",
    "{k} [of|at|as|by|with] {v}",
    "[with|having|has|had|got|and|plus|by|under|from|at|for] [a|the|its|] {k} {v}",
    "[with|having|has|had|got|shows|carries|bears] [a|the|its] {k} of {v}",
    "[for|as|in] [the |]{k}[,|:| we have| there is| it has| they wrote| take| use| note| I wrote| you find] {v}",
    "[we|they|I|you|it|he|she|{n}] [have|has|put|wrote|noted|gave|set|list|chose|saw|found|read] {v} [as|for|under|in|at] [the |its |]{k}",
    "{v} [as|for|is|was|being|under|are] [the|its|their|our] {k}",
    "{v} ({k})",
    "{v} [is what|was what] [the {k} says|we have for {k}|stands under {k}|the {k} shows]",
    "[whose|where the|while the|and the|so the|because the] {k} {L} {v}",
    "[by|under|in|at] {k}: {v}",
    "[about|as to|regarding|concerning] [the |]{k}[:|, it is|, it {L}|: it {L}] {v}",
    "[set|put|take|note|write|fill in|mark] [the |]{k} [to|as|at|with] {v}",
)
LINES = (
    "- {k}: {v}",
    "* {k}: {v}",
    "{k}: {v}",
    "{k} = {v}",
    "{k}\t{v}",
    "{k} | {v}",
    "| {k} | {v} |",
    "{k} ... {v}",
    "**{k}**: {v}",
    "{k} -> {v}",
    "# {k}: {v}",
    "[{k}] {v}",
    "- {v} ({k})",
    "{k}, {v}",
    "{k}; {v}",
    "• {k} {v}",
    "- the {k} {L} {v}",
    "{k} {L} {v}",
    "<{k}>{v}</{k}>",
    "{k} := {v}",
    '"{k}": "{v}"',
    "{k}\n{v}",
)
TABLES: tuple[Callable[[list[str], list[str]], str], ...] = (
    lambda k, v: ",".join(k) + "\n" + ",".join(v),
    lambda k, v: "; ".join(k) + "\n" + "; ".join(v),
    lambda k, v: " | ".join(k) + "\n" + " | ".join(v),
    lambda k, v: "\t".join(k) + "\n" + "\t".join(v),
    lambda k, v: "| " + " | ".join(k) + " |\n|" + "---|" * len(k) + "\n| " + " | ".join(v) + " |",
    lambda k, v: (
        ", ".join(k[:-1])
        + " and " * (len(k) > 1)
        + k[-1]
        + " are "
        + ", ".join(v[:-1])
        + " and " * (len(k) > 1)
        + v[-1]
    ),
)


def _linked(r: Rng, bank: Bank, style: str, link: str) -> str:
    s = style or r.choice(SENTENCES)
    return (
        expand(r, s)
        .replace("{L}", link or r.choice(LINKS))
        .replace("{a}", r.choice(("my", "our", "your", "this", "a", "one", carriers(r, bank, 1, 2))))
        .replace(
            "{o}",
            r.choice(("it", "this", "that one", "the " + carriers(r, bank, 1, 1), invent(r, bank, True))),
        )
        .replace("{n}", invent(r, bank, True))
    )


def _clear(v: Any) -> bool:
    """Whether a value cannot be taken for a linking word."""
    s = str(v)
    return not isinstance(v, str) or any(c.isdigit() or c in '@"' for c in s) or s[:1].isupper()


def pairs_text(r: Rng, bank: Bank, obj: dict[str, Any]) -> str:
    """A text that gives every key its value."""
    keys = [k.replace("_", " ") if r.random() < 0.25 else k for k in obj]
    values = [str(v) for v in obj.values()]
    x = r.random()
    if x < 0.08 and not any("," in v for v in values):
        return r.choice(TABLES)(keys, values)
    if x < 0.3:
        line = r.choice(LINES)
        link = r.choice(LINKS)
        parts = [
            line.replace("{L}", link).replace("{k}", k).replace("{v}", v)
            for k, v in zip(keys, values, strict=True)
        ]
        head = (
            carriers(r, bank, 1, 4).capitalize() + r.choice((":\n", "\n", ".\n", "\n\n"))
            if r.random() < 0.3
            else ""
        )
        return head + "\n".join(parts)
    same = r.random() < 0.45
    style = expand(r, r.choice(SENTENCES)) if same else ""
    link = r.choice(LINKS) if r.random() < 0.3 else ""
    if len(obj) > 1 and r.random() < 0.2:
        link = r.choice(
            (r.choice(WORDS), r.choice(LITTLE), f"{r.choice(LITTLE)} {r.choice(WORDS)}", invent(r, bank))
        )
        if all(_clear(v) for v in obj.values()):
            style = r.choice(("{k} {L} {v}", "the {k} {L} {v}", "its {k} {L} {v}", "{a} {k} {L} {v}"))
        else:
            style = r.choice(("the {k} {L} {v}", "{k} {L} {v}"))
    parts = []
    for k, v in zip(keys, values, strict=True):
        said = v if r.random() < 0.9 or '"' in v else f'"{v}"'
        parts.append(_linked(r, bank, style, link).replace("{k}", k).replace("{v}", said))
    joint = r.choice((", ", ", ", ", ", "; ", ". ", ". ", "\n", " and ", ", and ", ", then "))
    if joint == ". ":
        parts = [p if p.startswith(v) else p[0].upper() + p[1:] for p, v in zip(parts, values, strict=True)]
    text = joint.join(parts)
    if len(parts) > 1 and joint == ", " and r.random() < 0.5:
        text = (
            ", ".join(parts[:-1]) + r.choice((" and ", ", and ", ", while ", " but ", ", plus ")) + parts[-1]
        )
    if r.random() < 0.3:
        text = carriers(r, bank, 1, 6).capitalize() + r.choice((": ", ", ", ". ", " - ", ": ")) + text
    if r.random() < 0.2:
        text += r.choice((". ", ". ", "\n")) + carriers(r, bank, 2, 6).capitalize()
    return text


def keys_said(r: Rng, keys: list[str]) -> str:
    """The wanted keys as a person lists them."""
    x = r.random()
    if x < 0.12:
        return r.choice((", ", " / ", ",")).join(keys)
    mark = r.choice(("{}", "{}", "{}", "{}", '"{}"', "`{}`", "'{}'", "the {}"))
    said = [mark.format(k) for k in keys]
    return (
        said[0]
        if len(said) == 1
        else ", ".join(said[:-1]) + r.choice((" and ", " and ", ", ", ", and ")) + said[-1]
    )


JSON = "[JSON|JSON|a JSON object|JSON format|a JSON|one JSON object|an object in JSON|valid JSON|json|a JSON dictionary|a JSON record|pure JSON]"
THINGS = (
    "{J} [with|of|holding|containing|that has|that holds|that contains|made of|for|that gives|showing|which lists|built from|having|with the keys|with the fields|with only|with keys] {ks}",
    "{ks} [as|in|in the form of|inside|put into|packed into|written as|formatted as|in one] {J}",
    "{ks}, [as|in|formatted as|written as|put into] {J}",
)
DEEDS = (
    "[take|get|extract|pull|read|collect|pick|gather|copy|fetch|find|grab|lift] {ks} [out|from the text|from this|from it|from the note|of it|from below|from the following|] [as|into|to|in|and put them into|and return|and write|and give me|and make] {J}",
    "[turn|convert|change|transform|rewrite|summarise|format|put|translate|boil down|shape] [this|the text|it|the note|the following|that|what follows|the line|these words|the message] [into|to|as|in] {J} [with|of|that has|for|holding|keeping only|showing|having|with the keys|with the fields] {ks}",
    "[write|give|return|make|build|create|produce|answer with|output|print|reply with|respond with|form|compose|generate|fill|send back] {J} [with|of|that has|for|holding|from|containing|having|out of|whose keys are|that lists|with just|with the keys] {ks}",
    "[list|state|give|return|note|write down|summarise|report|record|store|represent|express|encode|show|deliver|hand me] {ks} [as|in|using|in the form of] {J}",
)
ALL = (
    "[turn|convert|change|transform|rewrite|format|put|translate] [this|the text|it|the note|the following|that|what follows|all of this|everything] [into|to|as|in] {J}",
    "[write|give me|return|make|build|create|answer with|output|print] {J} [of|from|out of|for] [this|it|all of this|the text|all of it|everything here]",
    "[represent|express|encode|store|record|give me] [this|all of it|everything|the whole text] [as|in] {J}",
)
AROUND = (
    "{q}\n{t}",
    "{q}\n\n{t}",
    "{q} {t}",
    "{q}: {t}",
    "{t}\n{q}",
    "{t}\n\n{q}",
    "{t}. {q}",
    '{q} "{t}"',
    "{q}\n```\n{t}\n```",
    "[Text|Note|Input|Data|Message|Record]: {t}\n{q}",
    "{q}\n[Text|Note|Input|Data|Message|Record|It says|The text says|Here it is]: {t}",
    "{0}: {t}\n{q}",
    "{q} {0}: {t}",
)


def json_request(r: Rng, bank: Bank, ks: str) -> str:
    """A request for JSON with these keys (all there are where `ks` is empty); `{t}` stands for the text."""
    if not ks:
        q = ask_deed(r, expand(r, r.choice(ALL).replace("{J}", JSON)))
    elif r.random() < 0.4:
        q = ask_thing(r, expand(r, r.choice(THINGS).replace("{J}", JSON)).replace("{ks}", ks))
    else:
        q = ask_deed(r, expand(r, r.choice(DEEDS).replace("{J}", JSON)).replace("{ks}", ks))
    frame = r.choice(AROUND)
    if "{q}:" in frame or "}: {t}" in frame:
        q = q.rstrip("?.!")
    return expand(r, frame).replace("{0}", carriers(r, bank, 1, 4)).replace("{q}", q)


def skeleton(r: Rng, keys: list[str]) -> str:
    """An empty object that shows the wanted keys."""
    return json.dumps(dict.fromkeys(keys, r.choice(("", "...", None))))

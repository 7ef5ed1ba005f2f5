"""Tool calls: the right one of up to four, its result put into words, and none when none fits."""

import json
from typing import Any

from tools.demo_model.bank import Bank
from tools.demo_model.bank_train_everyday import EVERYDAY
from tools.demo_model.bank_train_real import REAL
from tools.demo_model.frames import LEADS
from tools.demo_model.grammar import (
    Conversation,
    Rng,
    clock,
    code,
    day,
    email,
    expand,
    invent,
    number,
    person,
    phrase,
    place,
    talk,
    value,
    word,
)
from tools.demo_model.skills.chat import filler
from tools.demo_model.skills.schemas import Tool, request, tool_set, venue

NO_TOOL = "I do not have a tool for that."
GENERIC = {"result", "value", "data", "answer", "output", "response"}
ROOMS = [
    "kitchen",
    "bedroom",
    "bathroom",
    "garage",
    "office",
    "hall",
    "attic",
    "cellar",
    "living room",
    "garden",
]


def _real_value(r: Rng, bank: Bank, kind: str) -> Any:
    if "/" in kind:
        return r.choice(kind.split("/"))
    return {
        "place": lambda: place(r, bank),
        "venue": lambda: venue(r, bank),
        "person": lambda: person(r, bank),
        "email": lambda: email(r, bank),
        "day": lambda: day(r),
        "clock": lambda: clock(r),
        "code": lambda: code(r),
        "number": lambda: int(number(r, 3)),
        "text": lambda: phrase(r, bank, 1, 6),
        "topic": lambda: phrase(r, bank, 1, 3),
        "word": lambda: word(r, bank),
        "room": lambda: r.choice(ROOMS),
        "sum": lambda: f"{number(r, 4)} {r.choice('+-*/')} {number(r, 3)}",
        "path": lambda: (
            "/".join(r.choice(("", invent(r, bank))) + word(r, bank) for _ in range(r.randint(1, 3)))
            + r.choice((".txt", ".py", ".md", "", ".json"))
        ),
    }[kind]()


def _real(r: Rng, bank: Bank) -> tuple[dict[str, Any], str, dict[str, Any], str]:
    """A tool as people write it: (spec, request, arguments, thing)."""
    name, about, args, asks = r.choice(EVERYDAY if r.random() < 0.5 else REAL)
    props: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for a, (kind, text) in args.items():
        props[a] = {"type": "integer" if kind == "number" else "string"}
        if "/" in kind:
            props[a]["enum"] = kind.split("/")
        if text and r.random() < 0.8:
            props[a]["description"] = text
        values[a] = _real_value(r, bank, kind)
    template = expand(r, asks)
    used = {a: v for a, v in values.items() if "{" + a + "}" in template}
    ask = expand(r, template, **values)
    if r.random() < 0.25:
        ask = expand(r, LEADS) + (ask if ask[:2] in ("I ", "I'") else ask[0].lower() + ask[1:])
    if r.random() < 0.5:
        props = _mixed(r, bank, props)
    spec = {
        "type": "function",
        "function": {
            "name": name,
            "description": about,
            "parameters": {
                "type": "object",
                "properties": props,
                "required": [a for a in props if a in used],
            },
        },
    }
    return spec, ask, used, name.split("_", 1)[-1].replace("_", " ")


def _mixed(r: Rng, bank: Bank, props: dict[str, Any]) -> dict[str, Any]:
    """The same arguments in any order, with others that nobody asks for."""
    out = dict(props)
    for _ in range(r.choice((0, 0, 1, 2))):
        extra: dict[str, Any] = {"type": r.choice(("string", "integer", "boolean", "number"))}
        if r.random() < 0.4:
            extra["description"] = phrase(r, bank, 1, 4)
        out.setdefault(r.choice((word, invent))(r, bank), extra)
    return {k: out[k] for k in r.sample(list(out), len(out))}


def _pick(
    r: Rng, bank: Bank, n: int
) -> tuple[list[dict[str, Any]], dict[str, Any], str, dict[str, Any], str]:
    """(all specs, the right one, request, arguments, thing)."""
    tools: list[Tool] = tool_set(r, bank, n)
    specs = [t.spec for t in tools]
    i = r.randrange(n)
    if bank.train and r.random() < 0.32:
        spec, ask, values, thing = _real(r, bank)
        if any(thing in t.thing or t.thing in thing for t in tools):
            specs, i = [spec], 0
        else:
            specs[i] = spec
        for j in range(len(specs)):
            if j != i and r.random() < 0.5:
                other = _real(r, bank)[0]
                if other["function"]["name"] not in {s["function"]["name"] for s in specs}:
                    specs[j] = other
        return specs, spec, ask, values, thing
    ask, values = request(r, bank, tools[i])
    return specs, specs[i], ask, values, tools[i].thing


def _plan(spec: dict[str, Any], values: dict[str, Any]) -> str:
    f = spec["function"]
    parts = [
        f"{a}: {json.dumps(values[a], ensure_ascii=False)}" if a in values else f"{a}: not given"
        for a in f["parameters"]["properties"]
    ]
    return f"The tool {f['name']} fits. " + ("; ".join(parts) if parts else "It needs nothing") + "."


def _ordered(spec: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return {a: values[a] for a in spec["function"]["parameters"]["properties"] if a in values}


def _call(spec: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return {"name": spec["function"]["name"], "arguments": _ordered(spec, values)}


def _called(call: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]}


def _result(r: Rng, bank: Bank, thing: str) -> tuple[str, str, list[str]]:
    """(what the tool returns, what to say, what must be said)."""
    x = r.random()
    if bank.train and x < 0.2 and r.random() < 0.6:
        return _plain_result(r, bank, thing)
    if x < 0.12:
        t = phrase(r, bank, 1, 8)
        return t, f"The tool says: {t}", [t]
    if x < 0.2:
        t = phrase(r, bank, 1, 6)
        return (
            json.dumps({r.choice(("error", "error", "failure", "error_message")): t}),
            f"The tool reports an error: {t}",
            [t],
        )
    if x < 0.26:
        return (
            r.choice(('{"ok": true}', '{"success": true}', "ok", '{"done": true}', "true")),
            "That worked.",
            ["worked"],
        )
    if x < 0.34:
        items = [value(r, bank) for _ in range(r.randint(1, 4))]
        said = items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
        return json.dumps(items), f"The result is {said}.", items
    n = 1 if x < 0.7 else r.randint(2, 4)
    body: dict[str, Any] = {}
    for _ in range(n):
        k = (
            expand(r, bank.results, o=thing.replace(" ", "_"))
            if n == 1 or r.random() < 0.3
            else r.choice((r.choice(bank.keys), invent(r, bank), word(r, bank)))
        )
        v = value(r, bank) if r.random() < 0.7 else r.choice((clock(r), day(r), phrase(r, bank, 1, 4)))
        body[k] = (
            int(v)
            if v.isdigit() and str(int(v)) == v
            else float(number(r, 2) + "." + r.choice("123456789"))
            if r.random() < 0.08
            else v
        )
    said = [
        f"the {thing if k in GENERIC and n == 1 else k.replace('_', ' ')} is {v}" for k, v in body.items()
    ]
    text = said[0] if len(said) == 1 else ", ".join(said[:-1]) + " and " + said[-1]
    return (
        json.dumps(body, ensure_ascii=False),
        text[0].upper() + text[1:] + ".",
        [str(v) for v in body.values()],
    )


def _plain_result(r: Rng, bank: Bank, thing: str) -> tuple[str, str, list[str]]:
    """A tool that answers in words: whole sentences are passed on, anything else is said to be its answer."""
    v, w = value(r, bank), word(r, bank)
    if r.random() < 0.5:
        t = expand(
            r,
            "[It is|There are|It was|The {o} is|The {o} has|You have|Found|I found|Done:|Now it is|The {w} is"
            "|This is|We have|Your {o} is] {v}[ {w}| and {w}|, {w}|  now||].",
            o=thing,
            v=v,
            w=w,
        )
        return t, t, [t.rstrip(".")]
    t = expand(
        r,
        "[{v} {w}|{v}, {w}|{v}|{w}: {v}|{v} ({w})|{v} {w}, {x}|{w} {v}; {x} {y}|{v} / {w}]",
        v=v,
        w=w,
        x=word(r, bank),
        y=number(r, 3),
    )
    return t, f"The tool says: {t}", [t]


def call(r: Rng, bank: Bank) -> Conversation:
    """A request that one of the tools serves."""
    specs, spec, ask, values, _ = _pick(r, bank, r.randint(1, 4))
    turns: list[Any] = filler(r, bank) if r.random() < 0.15 else []
    if r.random() < 0.12:
        turns += _round(r, bank, specs)
    right = _call(spec, values)
    c = talk(r, bank, [*turns, ask, _called(right)], _plan(spec, right["arguments"]), call=right)
    c.tools = specs
    return c


def _round(r: Rng, bank: Bank, specs: list[dict[str, Any]]) -> list[Any]:
    """An earlier request, its call, result and answer; the tool joins the set."""
    _, spec, ask, values, thing = _pick(r, bank, 1)
    if spec["function"]["name"] in {s["function"]["name"] for s in specs} or len(specs) > 3:
        return []
    specs.append(spec)
    body, said, _ = _result(r, bank, thing)
    return [ask, _called(_call(spec, values)), {"role": "tool", "content": body}, said]


def result(r: Rng, bank: Bank) -> Conversation:
    """The tool has answered: say what it found."""
    specs, spec, ask, values, thing = _pick(r, bank, r.randint(1, 4))
    turns: list[Any] = filler(r, bank) if r.random() < 0.15 else []
    body, said, must = _result(r, bank, thing)
    turns += [ask, _called(_call(spec, values)), {"role": "tool", "content": body}, said]
    c = talk(r, bank, turns, f"The tool answered: {body}", has=must, nocall=True)
    c.tools = specs
    return c


def misfit(r: Rng, bank: Bank) -> Conversation:
    """A request that none of the tools serves."""
    n = r.randint(0 if r.random() < 0.1 else 1, 4)
    tools = tool_set(r, bank, n + 1)
    specs = [t.spec for t in tools[:n]]
    ask = request(r, bank, tools[n])[0]
    if bank.train and n and r.random() < 0.4:
        ask = request(r, bank, r.choice(tools[:n]), tools[n].thing)[0]
    elif bank.train and n and r.random() < 0.3:
        _, ask, _, thing = _real(r, bank)
        if any(thing in t.thing or t.thing in thing for t in tools):
            ask = request(r, bank, tools[n])[0]
    turns = filler(r, bank) if r.random() < 0.15 else []
    c = talk(r, bank, [*turns, ask, NO_TOOL], "No tool fits this.", decline=True, nocall=True, kind="misfit")
    c.tools = specs
    return c

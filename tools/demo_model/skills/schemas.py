"""Invented tools: a schema of arguments of every kind and type, and a request that gives them values."""

# ruff: noqa: E501

import re
from dataclasses import dataclass
from typing import Any

from tools.demo_model.bank import ArgKind, Bank
from tools.demo_model.frames import DEEDS, request_for
from tools.demo_model.grammar import (
    WORDS,
    Rng,
    carriers,
    clock,
    code,
    day,
    email,
    expand,
    framed,
    invent,
    number,
    person,
    phrase,
    place,
    word,
    wrap,
)

JSON_TYPE = {"number": "integer", "amount": "number", "flag": "boolean", "list": "array"}
VAGUE = re.compile(r" (for|of|from|at) ")
YES = (
    " with {a}",
    ", {a}",
    " and {a} on",
    ", {a}: yes",
    ", make it {a}",
    " with {a} on",
    ", {a} true",
    " and {a} set to true",
    ", {a} enabled",
    " and yes to {a}",
    " that is {a}",
    ", {a}, yes",
)
NO = (
    " without {a}",
    " and {a} off",
    ", not {a}",
    ", {a}: no",
    " and no {a}",
    " with {a} off",
    ", {a} false",
    " and {a} set to false",
    ", {a} disabled",
    " but not {a}",
    " that is not {a}",
    ", {a}, no",
)
# in training: how a request names an argument, composed; {a} its name, {v} the value
NAMED_LOOSE = (
    " [with|having|of|and|using|plus|on|under|at|by|from|via|through|carrying|showing|keeping|taking|given|for|to|in|that has|that holds|which has|that shows|who has] [the|the|a|its|their|] {a} [{v}|{v}|of {v}|= {v}|being {v}|set to {v}|equal to {v}|as {v}|: {v}|({v})|like {v}]",
    "[ whose| and the| where the| and its|, the|; the| so that the| while the| and let the| when the] {a} [is|is|equals|should be|must be|was|will be|reads|says|shows|comes to|stays|would be|has to be|ought to be|be] {v}",
    " [and|with|taking|putting|using|choosing|give it|set|putting in|plus|having] {v} [as|for|as|in|under|being] [the|its|] {a}",
    "[,|;|] {a}[ |: | = |=| is ]{v}",
    " ([the |]{a}[:| is| =|] {v})",
    " [and|,] [make|let|put|set|keep] [the|its] {a} [be |to |at |]{v}",
    "[,|] {v} [is|being|as] [the|its] {a}",
)
DETAIL = (
    "{A}: {v}",
    "{A} {v}",
    "The {a} [is|should be|equals|must be|will be|was] {v}",
    "{v} is the {a}",
    "{A} = {v}",
    "[Use|Take|Put|Choose|Pick] {v} [as|for] [the |]{a}",
    "[Make|Set|Let] the {a} [to |be |]{v}",
    "[I want|I'd like|We need|It has] {v} [as|for] the {a}",
    "- {a}: {v}",
    "{a}: {v}",
    "My {a} is {v}",
    "Its {a}: {v}",
)
LOOSE_BARE = {
    "number": (
        " for {v} {u}",
        " of {v} {u}",
        " {v} {u}",
        " with {v} {u}",
        ", {v} {u}",
        " and {v} {u}",
        " for {v}",
    ),
    "amount": (" for {v}", " at {v}", " of {v}", " with {v}", ", {v}"),
    "place": (
        " in {v}",
        " at {v}",
        " near {v}",
        " around {v}",
        " over at {v}",
        " inside {v}",
        " close to {v}",
        ", {v}",
    ),
    "person": (
        " for {v}",
        " with {v}",
        " to {v}",
        " by {v}",
        ", {v}",
        " together with {v}",
        " on behalf of {v}",
    ),
    "day": (" on {v}", " for {v}", " by {v}", " from {v}", ", {v}", " due {v}", " before {v}"),
    "clock": (" at {v}", " for {v}", " around {v}", ", {v}", " by {v}", " from {v}"),
    "email": (" to {v}", " for {v}", " via {v}", ", {v}", " from {v}"),
    "code": (" {v}", " number {v}", " with {v}", ", {v}", " under {v}"),
    "enum": (" in {v}", ", {v}", " as {v}", " and {v}", " with {v}", " on {v}", " the {v} way", " ({v})"),
    "list": (": {v}", " with {v}", " for {v}", " of {v}", ", {v}", " - {v}"),
    "text": (
        ' "{v}"',
        ': "{v}"',
        ' saying "{v}"',
        ' with "{v}"',
        " called '{v}'",
        ' about "{v}"',
        ', "{v}"',
        ' that reads "{v}"',
    ),
}
ABOUT = (
    "{D} [a|the|one|some] {o}[ for the user| now| in the system| of the user|||].",
    "[Use this to|Call this to|Helps to|Lets you|A tool to|Function to|Can|Will|Able to] {d} [a|the|any] {o}.",
    "{O} [tool|function|service|helper]: {d} it[.|]",
    "To {d} [a|the] {o}.",
)


@dataclass
class Arg:
    """One argument of a tool."""

    name: str
    kind: str
    schema: dict[str, Any]
    required: bool
    arbitrary: bool

    @property
    def spoken(self) -> str:
        """The name as a person says it."""
        return (
            re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name).replace("_", " ").lower()
            if not self.name.islower() or "_" in self.name
            else self.name
        )


@dataclass
class Tool:
    """A tool: its thing, its verb and its arguments."""

    name: str
    thing: str
    verb: int
    args: list[Arg]
    spec: dict[str, Any]
    twin: bool = False


def _style(r: Rng, parts: list[str], style: int) -> str:
    words = " ".join(parts).replace("_", " ").split()
    if style == 0:
        return "".join(w.capitalize() if i else w for i, w in enumerate(words))
    return ("-" if style == 1 else "_").join(words)


def _arg_name(r: Rng, bank: Bank, kind: str, style: int) -> tuple[str, bool]:
    x = r.random()
    if x < (0.3 if bank.train else 0.85):
        return _style(r, [r.choice(bank.args[kind].names)], style), False
    if x < (0.45 if bank.train else 0.9):
        return _style(
            r, [r.choice((word(r, bank), invent(r, bank))), r.choice(bank.args[kind].names)], style
        ), False
    if bank.train and x < 0.52:
        return _style(r, [r.choice(bank.args[r.choice(list(bank.args))].names)], style), True
    return _style(
        r,
        [
            r.choice((invent(r, bank), r.choice(WORDS) if bank.train else word(r, bank)))
            for _ in range(r.choice((1, 1, 2)))
        ],
        style,
    ), True


def _schema(r: Rng, bank: Bank, kind: str) -> dict[str, Any]:
    if kind == "enum":
        values = list(
            dict.fromkeys(
                r.choice((word(r, bank), word(r, bank), invent(r, bank))) for _ in range(r.randint(2, 5))
            )
        )
        return {"type": "string", "enum": [v.upper() for v in values] if r.random() < 0.1 else values}
    if kind == "list":
        number_items = bank.train and r.random() < 0.2
        return {"type": "array", "items": {"type": "integer" if number_items else "string"}}
    if kind == "number" and r.random() < 0.15:
        return {"type": "number"}
    if kind == "number" and r.random() < 0.12:
        return {"type": "string"}
    if kind == "code" and r.random() < 0.25:
        return {"type": "integer"}
    return {"type": JSON_TYPE.get(kind, "string")}


def _args(r: Rng, bank: Bank, style: int) -> list[Arg]:
    out: list[Arg] = []
    n = r.choices((0, 1, 2, 3, 4), (5, 33, 34, 20, 8))[0]
    kinds = list(bank.args)
    for i in range(n):
        kind = r.choices(
            kinds, [{"place": 2.2, "person": 1.8, "text": 1.8, "number": 2}.get(k, 1) for k in kinds]
        )[0]
        name, arbitrary = _arg_name(r, bank, kind, style)
        if any(a.name == name or (a.kind == kind and kind in ("enum", "list")) for a in out):
            continue
        schema = _schema(r, bank, kind)
        if r.random() < (0.85 if arbitrary else 0.55):
            about = expand(
                r,
                bank.args[kind].about,
                a=name.replace("_", " ")
                if not arbitrary or r.random() < 0.5
                else r.choice(bank.args[kind].names).replace("_", " "),
            )
            if bank.train and r.random() < 0.25:
                about = wrap(r, bank, about.lower(), "[.|]")
            if about:
                schema["description"] = about + r.choice(("", "", "."))
        out.append(Arg(name, kind, schema, i == 0 or r.random() < 0.5, arbitrary))
    return out


def make_tool(r: Rng, bank: Bank, same: str = "") -> Tool:
    """A tool that nobody has seen, for the same thing as another one if that is given."""
    style = r.choices((0, 1, 2), (12, 3, 85))[0]
    v = r.randrange(len(bank.verbs))
    thing = (
        r.choice(bank.nouns)
        if r.random() < (0.25 if bank.train else 0.85)
        else r.choice((invent(r, bank), word(r, bank), r.choice(WORDS) if bank.train else word(r, bank)))
    )
    if same:
        thing = same
    elif r.random() < 0.25:
        thing = r.choice((word(r, bank), invent(r, bank), r.choice(bank.nouns))) + " " + thing
    verb = bank.verbs[v]
    x = r.random()
    does = verb.name
    if bank.train and not same and r.random() < 0.5:
        does = r.choice((r.choice(WORDS), invent(r, bank)))
    elif bank.train and r.random() < 0.5:
        does = r.choice(DEEDS[verb.name].split("|")).removesuffix(" me")
    name = _style(r, [does, thing] if x < 0.75 or same else [thing, does] if x < 0.85 else [thing], style)
    if x > 0.95 and not same:
        name = invent(r, bank)
    args = _args(r, bank, style)
    about = expand(r, framed(r, bank, verb.about, ("[a|the|] {o}",), ".", share=0.3), o=thing)
    if bank.train and r.random() < (0.6 if same else 0.35):
        deed = r.choice(DEEDS[verb.name].split("|"))
        about = expand(r, ABOUT, D=deed.capitalize(), d=deed, o=thing, O=thing.capitalize())
    function: dict[str, Any] = {"name": name, "description": about}
    if x <= 0.95 and r.random() < 0.04:
        del function["description"]
    function["parameters"] = {"type": "object", "properties": {a.name: a.schema for a in args}}
    required = [a.name for a in args if a.required]
    if required or r.random() < 0.5:
        function["parameters"]["required"] = required
    return Tool(name, thing, v, args, {"type": "function", "function": function})


def tool_set(r: Rng, bank: Bank, n: int) -> list[Tool]:
    """Different tools; at times two of them do different things with the same thing."""
    out: list[Tool] = []
    seen: set[str] = set()
    while len(out) < n:
        t = make_tool(r, bank)
        twin = out and r.random() < 0.15
        if twin and t.verb not in {x.verb for x in out}:
            t = make_tool(r, bank, out[-1].thing)
            if t.name not in seen and t.verb not in {x.verb for x in out}:
                t.twin = out[-1].twin = True
                seen.add(t.name)
                out.append(t)
        elif not seen & {*t.thing.split(), t.name}:
            seen |= {*t.thing.split(), t.name}
            out.append(t)
    return out


def _value(r: Rng, bank: Bank, arg: Arg) -> tuple[Any, str]:
    """(the value in JSON, the value as said)."""
    kind, schema = arg.kind, arg.schema
    if kind == "enum":
        v = r.choice(schema["enum"])
        return v, v if r.random() < 0.9 else v.lower()
    if kind == "list":
        items: list[Any] = [r.choice((word, invent, person, place))(r, bank) for _ in range(r.randint(1, 4))]
        if schema["items"]["type"] == "integer":
            items = [int(number(r, 3)) for _ in items]
        texts = [str(x) for x in items]
        return items, texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]
    if schema["type"] == "integer":
        n = number(r, 5) if kind == "code" else number(r, 4)
        return int(n), n
    if schema["type"] == "number":
        n = number(r, 3) + ("." + r.choice(("5", "25", str(r.randint(1, 9)))) if r.random() < 0.6 else "")
        return (float(n) if "." in n else int(n)), n
    if kind == "number":
        n = number(r, 4)
        return n, n
    makers = {
        "place": place,
        "person": person,
        "day": lambda r, b: day(r),
        "clock": lambda r, b: clock(r),
        "email": email,
        "text": lambda r, b: phrase(r, b, 1, 6),
        "code": lambda r, b: code(r) if r.random() < 0.8 else number(r, 5),
    }
    v = venue(r, bank) if bank.train and kind == "place" and r.random() < 0.15 else makers[kind](r, bank)
    return v, v


def venue(r: Rng, bank: Bank) -> str:
    """The name of a restaurant, hotel or shop."""
    names = (
        person(r, bank).split()[0] + "'s",
        "the " + word(r, bank).capitalize() + " " + word(r, bank).capitalize(),
        word(r, bank).capitalize()
        + " "
        + r.choice(("Hotel", "Inn", "Bar", "House", "Garden", "Place", "Cafe")),
    )
    return r.choice(names)


def _mention(r: Rng, bank: Bank, arg: Arg, said: str, args: list[Arg], bare_used: set[str]) -> str:
    kind: ArgKind = bank.args[arg.kind]
    loose = bank.train and r.random() < 0.6
    bare_forms = LOOSE_BARE.get(arg.kind, kind.bare) if loose else kind.bare
    both = {"place", "person"} <= {a.kind for a in args}
    rivals = sum(_class(a) == _class(arg) for a in args) > 1 if bank.train else _same_kind(arg, args)
    forms = [f for f in bare_forms if not (both and arg.kind in ("place", "person") and VAGUE.match(f))]
    clear = not arg.arbitrary or "description" in arg.schema or len(args) == 1
    if bank.train and not clear:
        clear = sum(a.schema["type"] == arg.schema["type"] for a in args) == 1
    if (
        forms
        and clear
        and not rivals
        and arg.kind not in bare_used
        and r.random() < (0.6 if arg.kind != "number" or bank.train else 0.4)
    ):
        bare_used.add(arg.kind)
        return expand(r, r.choice(forms), a=arg.spoken, v=said, u=carriers(r, bank, 1, 1))
    quoted = said
    if arg.kind == "text" and (" " in said or r.random() < 0.5):
        quoted = r.choice(('"{}"', "'{}'")).format(said)
    return expand(r, NAMED_LOOSE if loose else bank.named, a=arg.spoken, v=quoted)


def _same_kind(arg: Arg, args: list[Arg]) -> bool:
    return sum(a.kind == arg.kind for a in args) > 1


def _class(arg: Arg) -> str:
    """What a value looks like: two arguments of one class cannot be told apart by it."""
    if arg.schema["type"] in ("integer", "number"):
        return "number"
    return "number" if arg.kind == "number" else arg.kind


def _loose_request(
    r: Rng, bank: Bank, tool: Tool, thing: str, order: list[Arg], values: dict[str, Any], said: dict[str, str]
) -> str:
    """In training: any verb that fits, composed by grammar; the arguments before, after or as a list of details."""
    pieces: list[str] = []
    adjective, bare = "", set[str]()
    for a in order:
        if a.kind == "enum" and r.random() < 0.2:
            adjective += said[a.name] + " "
        elif a.kind == "flag" and values[a.name] and r.random() < 0.2:
            adjective += a.spoken + " "
        elif a.kind == "flag":
            pieces.append(expand(r, YES if values[a.name] else NO, a=a.spoken))
        else:
            pieces.append(_mention(r, bank, a, said[a.name], tool.args, bare))
    what = (
        r.choice(("the ", "the ", "the ", "a ", "my ", "this ", "our ", "one ", "")) + adjective + thing
    ).strip()
    deed, x = bank.verbs[tool.verb].name, r.random()
    if pieces and x < 0.2:
        k = r.randint(1, len(pieces))
        front = "".join(pieces[:k]).strip(" ,;")
        q = request_for(r, deed, what, "".join(pieces[k:]))
        q = q if q[:1] == "I" else q[:1].lower() + q[1:]
        return front[:1].upper() + front[1:] + r.choice((", ", ": ", " ", " - ")) + q
    if pieces and not adjective and x < 0.42:
        q = request_for(r, deed, what, "")
        parts = [_detail(r, a, values[a.name], said.get(a.name, "")) for a in order]
        joint = "\n" if any(p.startswith("- ") for p in parts) else r.choice((". ", "\n", ", ", "; ", ". "))
        return q + r.choice((" ", "\n", " ")) + joint.join(parts) + r.choice((".", ""))
    return request_for(r, deed, what, "".join(pieces))


def _detail(r: Rng, arg: Arg, value: Any, said: str) -> str:
    if arg.kind == "flag":
        said = r.choice(("yes", "true", "on", "yes") if value else ("no", "false", "off", "no"))
        return expand(
            r, "[{A}: {v}|{a}: {v}|{a} {v}|{A} {v}]", a=arg.spoken, A=arg.spoken.capitalize(), v=said
        )
    if arg.kind == "text" and r.random() < 0.7:
        said = f'"{said}"'
    return expand(r, DETAIL, a=arg.spoken, A=arg.spoken.capitalize(), v=said)


def request(r: Rng, bank: Bank, tool: Tool, thing: str = "") -> tuple[str, dict[str, Any]]:
    """(what a person says, the arguments of the right call); at times about another thing than the tool's."""
    used = [a for a in tool.args if a.required or r.random() < 0.5]
    values: dict[str, Any] = {}
    said: dict[str, str] = {}
    for a in used:
        if a.kind == "flag":
            values[a.name] = r.random() < 0.6
        else:
            values[a.name], said[a.name] = _value(r, bank, a)
    order = list(used)
    if r.random() < 0.6:
        r.shuffle(order)
    if bank.train and r.random() < 0.6:
        return _loose_request(r, bank, tool, thing or tool.thing, order, values, said), values
    text, bare = "", set[str]()
    for a in order:
        if a.kind == "flag":
            text += (
                expand(r, YES if values[a.name] else NO, a=a.spoken)
                if bank.train or r.random() < 0.5
                else expand(r, bank.args["flag"].bare[0 if values[a.name] else 1], a=a.spoken)
            )
        else:
            text += _mention(r, bank, a, said[a.name], tool.args, bare)
    core = ("[the|a|my|this|] {o}{args}", "{V} [the|a|my|me a|me the] {o}{args}", "{o}{args}")
    end = "[?|.|.||, " + carriers(r, bank, 1, 4) + "[?|.]]"
    q = framed(r, bank, bank.verbs[tool.verb].ask, core, end, False, 0 if tool.twin else 0.62)
    return expand(
        r, q, o=thing or tool.thing, args=text, V=r.choice(bank.verbs[tool.verb].name.split("_"))
    ), values

"""Copying from the prompt: word for word, out of JSON, into JSON, and out of running text."""
# ruff: noqa: E501

import json
from typing import Any

from tools.demo_model.bank import Bank
from tools.demo_model.frames import ask_thing
from tools.demo_model.grammar import (
    JOIN,
    Conversation,
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
    talk,
    value,
    wrap,
)
from tools.demo_model.skills.pairs import json_request, keys_said, pairs_text, skeleton


def typed(v: str) -> Any:
    """A value as JSON has it: digits are always a number, unless that loses a leading zero."""
    return int(v) if v.isdigit() and str(int(v)) == v else v


def record(r: Rng, bank: Bank, low: int = 1, high: int = 6) -> dict[str, Any]:
    """Keys and values."""
    n = r.randint(low, high)
    keys = (
        r.sample(bank.keys, n)
        if r.random() < (0.3 if bank.train else 0.65)
        else list(
            dict.fromkeys(
                r.choice(
                    (
                        invent(r, bank),
                        invent(r, bank) + "_" + invent(r, bank),
                        r.choice(bank.word),
                        carriers(r, bank, 1, 1),
                    )
                )
                for _ in range(n)
            )
        )
    )
    makers = (value, value, value, lambda r, b: day(r), email)
    return {k: typed(r.choice(makers)(r, bank)) for k in keys}


def repeat(r: Rng, bank: Bank) -> Conversation:
    """Say it again, exactly."""
    x = r.random()
    if x < 0.7:
        t = phrase(r, bank, 1, 14)
        if bank.train and r.random() < 0.3:
            pool = t.split() + [t.split()[0][:3] + invent(r, bank) for _ in range(2)]
            t = " ".join(r.choice(pool) for _ in range(r.randint(3, 25)))
        if r.random() < 0.4:
            t = t[0].upper() + t[1:] + r.choice((".", "!", "?"))
    elif x < 0.85:
        t = json.dumps(record(r, bank, 1, 3))
    else:
        t = ", ".join(phrase(r, bank, 1, 3) for _ in range(r.randint(2, 5)))
    q = framed(
        r,
        bank,
        bank.repeat,
        ("[repeat|copy|echo|say|write|print|quote|reproduce|mirror|retype|return|type|send back|give back]",),
        ":[ |\n]{t}",
        share=0.5,
    )
    return talk(r, bank, [expand(r, q, t=t), t], "I copy the text as it is.", exact=t, kind="repeat")


def field(r: Rng, bank: Bank) -> Conversation:
    """One field of a JSON object, of a list of them, or of an object within."""
    obj = record(r, bank, 1, 7)
    k = r.choice(list(obj))
    outer: Any = obj
    if r.random() < 0.12:
        outer = {r.choice(bank.keys) + "_info": obj}
    j = json.dumps(outer, indent=2 if r.random() < 0.25 else None, ensure_ascii=False)
    cores = (
        "[the|its] {k} [in|of|from|for] [this|the object|the data|it][:|] {j}",
        "{j} " + carriers(r, bank) + " [the|its|which] {k}",
        "{j}[,| and|.] " + carriers(r, bank, 0, 3) + " {k}",
        "{k} " + r.choice(JOIN) + " {j}",
    )
    q = framed(r, bank, bank.field, cores)
    if bank.train and r.random() < 0.35:
        q = ask_thing(r, expand(r, "[the|its] {k}[ of it| there| of this object| in this|]")).rstrip("?.!")
        q = r.choice(("{j}\n" + q + "?", q + ": {j}", q + "? {j}", "{j} " + q + ".", q + ".\n{j}"))
    q = expand(r, q, k=k.replace("_", r.choice("_ ")), j=j)
    v = obj[k] if isinstance(obj[k], str) else json.dumps(obj[k])
    return talk(
        r,
        bank,
        [q, f"The {k} is {v}."],
        f"The object says {json.dumps(k)}: {json.dumps(obj[k], ensure_ascii=False)}.",
        exact=f"The {k} is {v}.",
        has=[v],
        kind="field",
    )


def to_json(r: Rng, bank: Bank) -> Conversation:
    """Named values of a text as a JSON object; digits become numbers."""
    obj = record(r, bank, 1, 7)
    want = r.sample(list(obj), r.randint(1, len(obj)))
    if r.random() < 0.4:
        want = [k for k in obj if k in want]
    if bank.train and r.random() < 0.75:
        return _loose_json(r, bank, obj, want)
    style = r.choice(bank.kv) if r.random() < 0.4 else ""
    pairs = [expand(r, style or r.choice(bank.kv), k=k, v=v) for k, v in obj.items()]
    t = r.choice((", ", ", ", "; ", "\n", " and ")).join(pairs)
    ks = want[0] if len(want) == 1 else ", ".join(want[:-1]) + " and " + want[-1]
    cores = (
        "JSON [object |]" + r.choice(JOIN) + " " + carriers(r, bank, 0, 3) + " {ks}",
        "{ks} " + r.choice(JOIN) + " " + carriers(r, bank, 0, 2) + " JSON[ object|]",
    )
    q = framed(r, bank, bank.to_json, cores, "[:|.|, " + carriers(r, bank, 1, 4) + ":][ |\n]{t}")
    q = expand(r, q, ks=ks, t=t[0].upper() + t[1:] + r.choice(("", ".")))
    return _json_case(r, bank, q, obj, want)


def _json_case(r: Rng, bank: Bank, q: str, obj: dict[str, Any], want: list[str]) -> Conversation:
    a = json.dumps({k: obj[k] for k in want}, ensure_ascii=False)
    think = "The keys are " + "; ".join(f"{k}: {json.dumps(obj[k], ensure_ascii=False)}" for k in want) + "."
    return talk(r, bank, [q, a], think, json=a, kind="json")


def _loose_json(r: Rng, bank: Bank, obj: dict[str, Any], want: list[str]) -> Conversation:
    """In training: requests and texts composed by grammar, at times for all keys or with an empty object to fill."""
    t = pairs_text(r, bank, obj)
    if not t.startswith(tuple(str(v) for v in obj.values())):
        t = t[0].upper() + t[1:]
    t += r.choice(("", "", "."))
    x = r.random()
    if x < 0.15:
        want = list(obj)
        q = json_request(r, bank, "")
    elif x < 0.2:
        q = json_request(r, bank, "") + "\n" + r.choice(("Like this: ", "Format: ", "")) + skeleton(r, want)
    else:
        q = json_request(r, bank, keys_said(r, want))
    return _json_case(r, bank, q.replace("{t}", t), obj, want)


LOOSE = {
    "e": ("{n} {1} from {e} {0}", "email[ address|]"),
    "d": ("{0} {n} {1} {d} [dollars|euros|people|kilos] {0}", "[amount|sum|money|number]"),
    "n": ("{0} {n} {1} [in|near|to|for|] {pl} [at|with] {d} {0}", "[name|person|who]"),
    "pl": ("{0} {n} {1} [to|in|from|at] {pl} with {d} {1}", "[place|city|town|where]"),
    "c": ("{0} {c} {1} to {n}", "[code|order number]"),
    "y": ("{0} {y} {1} {n} {0}", "[date|day|when]"),
    "h": ("{0} at {h} {1} {n}", "[time|when|hour]"),
}


ASKED = {
    "e": "[email|e-mail|mail][ address|]",
    "d": "[amount|sum|number|figure|money|price|total]",
    "n": "[name|person|man or woman|human|customer|name of the person]",
    "pl": "[place|city|town|location|name of the town|city name]",
    "c": "[code|order number|reference|reference code]",
    "y": "[date|day|birthday]",
    "h": "[time|hour|time of day]",
}
# what a question may add to the asked word: it means nothing, only the kind of the asked word counts
OF_WHAT = (
    "",
    "",
    "",
    " of the {1}",
    " of [the|a|this|that] {1}",
    " for the {1}",
    " in the {1}",
    " that {2}",
    " which {2}",
    " to {2}",
    " [where|when|with which] {2}",
)
ASK = (
    "[What|Which] {f} [is mentioned|is given|is named|does it name|is in it|do you read|appears|stands there|comes up|is it|do you see|is told|is written there]",
    "[What is|What's] the {f}[ in it| there| here| in the text| in this| of it|]",
    "[Find|Extract|Give me|Tell me|Read|Name|Get|Return|Show|Pick out|Copy|Take|Write] [the|only the|just the] {f}[ in it| there| from it| in the text|]",
    "[Can|Could|Will|Would] you [find|give|tell|name|extract|read|show] [me |]the {f}[ in it| there| of it|]",
    "[I need|I want|I am looking for|I look for|Let me have] the {f}[ in it| there| from the text|]",
    "{f}",
    "the {f}",
    "[And|So|Now] the {f}",
    "[Do you see|Is there|Have you seen] [a|the] {f}[ in it| there|]",
)
AROUND = (
    "{t} {q}?",
    "{t}\n{q}?",
    "{q}: {t}",
    "{q}? {t}",
    "{q}?\n{t}",
    "{0}: {t} {q}?",
    "{q}, {0}: {t}",
    "{0} {t} {q}",
    "{q} {0} {t}",
    "{0}. {q}? {t}",
    "{0}\n{t}\n{q}?",
    '"{t}" {q}?',
    '{q} in "{t}"?',
    "{t} {0} {q}?",
    '{q} {0}: "{t}"',
)


def _ask(r: Rng, bank: Bank, f: str, text: str) -> str:
    """A question for something of this kind, at times with words of the text."""
    what = expand(r, ASKED[f])
    words = [w.strip(".,") for w in text.split() if w.isalpha() and w.islower()] or ["it"]
    more = expand(r, OF_WHAT)
    more = more.replace("{1}", r.choice(words) if r.random() < 0.5 else carriers(r, bank, 1, 1))
    i = r.randrange(len(words))
    more = more.replace("{2}", " ".join(words[i : i + 3]) if r.random() < 0.5 else carriers(r, bank, 1, 3))
    x = r.random()
    if x < 0.4:
        return expand(r, ASK).replace("{f}", what + more)
    if x < 0.7:
        return ask_thing(r, expand(r, "[the|the|the|its|a|one|only the|just the] ") + what + more).rstrip(
            "?.!"
        )
    if f == "n" and x < 0.85:
        return (
            expand(r, "[Who|who|Who is it that|Which person|Whom|What person] ")
            + carriers(r, bank, 0, 1)
            + more
        )
    link = expand(r, "[At|On|In|To|From|For|By|With|Of|Under|About] [which|what] ")
    return link + what + " " + expand(r, "[is|was|did|does|can|has|will] ") + carriers(r, bank, 1, 4) + more


def find(r: Rng, bank: Bank, length: int | None = None) -> Conversation:
    """A name, place, amount, code, date, time or address in running text."""
    told, f, ask = r.choice(bank.find)
    s = {
        "n": person(r, bank),
        "pl": place(r, bank),
        "d": number(r, 4),
        "c": code(r),
        "e": email(r, bank),
        "y": day(r),
        "h": clock(r),
    }
    loose = bank.train and r.random() < 0.4
    if loose:
        f = r.choice(list(ASKED))
        others = r.sample([k for k in ASKED if k != f], r.randint(0, 3))
        order = [f, *others]
        r.shuffle(order)
        told = (
            "".join(f"{carriers(r, bank, 0 if i else 1, 4)} {{{k}}} " for i, k in enumerate(order)).strip()
            + " "
            + carriers(r, bank, 0, 4)
        )
        told = (told[0].upper() + told[1:] if told[0] != "{" else told).strip() + "."
    elif bank.train and r.random() < 0.5:
        told, core = LOOSE[f]
        told = told.replace("{0}", carriers(r, bank, 0, 3)).replace("{1}", carriers(r, bank, 1, 3)).strip()
        told = (told[0].upper() + told[1:] if told[0] != "{" else told) + "."
        ask = wrap(r, bank, core, "")
    t = expand(r, told, **s)
    if bank.train and (loose or r.random() < 0.65):
        ask = _ask(r, bank, f, t)
    n = (
        length
        if length is not None
        else (r.randint(30, 1250) if bank.train and r.random() < 0.2 else r.choice((0, 0, 0, 6)))
    )
    before = r.randint(0, n)
    text = " ".join(x for x in (_prose(r, bank, before), t, _prose(r, bank, n - before)) if x)
    frame = (
        r.choice(AROUND).replace("{0}", carriers(r, bank, 1, 4))
        if bank.train and r.random() < 0.6
        else bank.find_ask
    )
    q = expand(r, frame, t=text, q=expand(r, ask, **s))
    return talk(r, bank, [q, s[f]], f"The text says: {t}", exact=s[f], kind="find")


def _prose(r: Rng, bank: Bank, words: int) -> str:
    out: list[str] = []
    while words > 0:
        n = min(words, r.randint(4, 12))
        words -= n
        out.append(carriers(r, bank, n, n).capitalize() + ".")
    return " ".join(out)


def extract(r: Rng, bank: Bank) -> Conversation:
    """One of the four."""
    return r.choice(
        (repeat, field, to_json, to_json, to_json, to_json, find, find, find)
        if bank.train
        else (repeat, field, to_json, find)
    )(r, bank)

"""Templates with choices and slots, carrier words, and the conversation that a skill returns."""
# ruff: noqa: E501

import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.demo_model.bank import Bank, listed

WORDS: list[str] = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split()
JOIN = listed(
    "for|in|to|now|please|again|with|right|today|then|at|on|as|so|when|here|there|that|because|after|if|of|about"
)
LITTLE = listed(
    "I|you|we|it|would|could|should|can|will|may|might|must|be|do|did|have|had|if|so|as|that|this|there|what|which|how|when|please|like|want|need|know|tell|give|make|let|see|get|go|just|also|really|one|me|my|your|our|us|them|for|of|to|in|on|at|by|from|about|he|she|they|who|where|glad|great|happen|happens|kind|sure|think|say|says|said|going|nice|possible|able|able|the|the|a|a"
)
CHOICE = re.compile(r"\[([^\[\]]*)\]")
Rng = random.Random


@dataclass
class Conversation:
    """Messages up to the answer that is judged (the last one), its tools, its thinking and how to judge it."""

    messages: list[dict[str, Any]]
    think: str
    check: dict[str, Any]
    tools: list[dict[str, Any]] = field(default_factory=list)


def expand(r: Rng, template: str | Sequence[str], /, **slots: object) -> str:
    """Expand the choices `[a|b]` of one template (of several), then fill its `{slots}`."""
    s = template if isinstance(template, str) else r.choice(template)
    while "[" in s and (n := CHOICE.sub(lambda m: r.choice(m[1].split("|")), s)) != s:
        s = n
    for k, v in slots.items():
        s = s.replace("{" + k + "}", str(v))
    return s


def invent(r: Rng, bank: Bank, capital: bool = False) -> str:
    """A word that nobody uses, of the bank's own syllables or, in training, of any letters."""
    x = r.random()
    if bank.train and x < 0.15:
        w = "".join(r.choice(string.ascii_lowercase) for _ in range(r.randint(2, 8)))
    elif bank.train and x < 0.5:
        w = r.choice(WORDS)[: r.randint(2, 5)] + (r.choice(WORDS)[-r.randint(2, 5) :] if x < 0.42 else "")
    else:
        w = "".join(r.choice(bank.onsets) + r.choice(bank.codas) for _ in range(r.choice((1, 2, 2, 2, 3))))
    return w.capitalize() if capital else w


def carriers(r: Rng, bank: Bank, low: int = 0, high: int = 5) -> str:
    """Words without meaning around a core phrase: who reads past them does not cling to the templates."""
    n = r.randint(low, high)
    if bank.train and n > 2 and r.random() < 0.5:
        little = r.choice((0.4, 0.6, 0.8))
        return " ".join(
            r.choice(LITTLE) if r.random() < little else r.choice(WORDS) for _ in range(n + r.randint(0, 4))
        )
    return " ".join(r.choice(WORDS) if r.random() < 0.9 else invent(r, bank) for _ in range(n))


def wrap(r: Rng, bank: Bank, core: str, end: str = "[?|?|.||!]", after: bool = True) -> str:
    """The core phrase amid carrier words, punctuated."""
    s = (carriers(r, bank) + r.choice(("", "", ",")) + " " if r.random() < 0.75 else "") + core
    if after and r.random() < 0.5:
        s += r.choice(("", "", ",")) + " " + r.choice(JOIN) + " " + carriers(r, bank, 0, 4)
    s = s.strip(" ,")
    if s and s[0] != "{" and r.random() < 0.85:
        s = s[0].upper() + s[1:]
    return s + expand(r, end)


def framed(
    r: Rng,
    bank: Bank,
    templates: Sequence[str],
    cores: Sequence[str],
    end: str = "[?|?|.||!]",
    after: bool = True,
    share: float = 0.5,
) -> str:
    """A template of the bank or, in training, often a core phrase amid carrier words."""
    if bank.train and cores and r.random() < share:
        return wrap(r, bank, expand(r, r.choice(cores)), end, after)
    return r.choice(templates)


def person(r: Rng, bank: Bank) -> str:
    """A first name of the bank or an invented one, at times with a surname."""
    n = r.choice(bank.first) if r.random() < (0.25 if bank.train else 0.6) else invent(r, bank, True)
    return n + " " + invent(r, bank, True) if r.random() < 0.2 else n


def place(r: Rng, bank: Bank) -> str:
    """A city of the bank or an invented one."""
    n = r.choice(bank.place) if r.random() < (0.25 if bank.train else 0.6) else invent(r, bank, True)
    return r.choice(("New ", "Port ", "San ", "East ")) + n if r.random() < 0.05 else n


def number(r: Rng, digits: int = 6) -> str:
    """A whole number of up to that many digits."""
    k = r.randint(1, digits)
    return str(r.randint(10 ** (k - 1), 10**k - 1))


def code(r: Rng) -> str:
    """Something like an order number: AB-1234."""
    letters = "".join(r.choice(string.ascii_uppercase) for _ in range(r.randint(1, 3)))
    return letters + r.choice(("", "-")) + "".join(r.choice(string.digits) for _ in range(r.randint(1, 5)))


def word(r: Rng, bank: Bank) -> str:
    """One word: of the bank, any English one, or invented."""
    x = r.random()
    return (
        r.choice(bank.word) if x < 0.35 else r.choice(WORDS) if bank.train and x < 0.75 else invent(r, bank)
    )


def value(r: Rng, bank: Bank) -> str:
    """Anything that a fact can hold."""
    k = r.randrange(7)
    if k == 0:
        return person(r, bank)
    if k == 1:
        return place(r, bank)
    if k == 2:
        return number(r)
    if k == 3:
        return code(r)
    if k == 4:
        return word(r, bank)
    return invent(r, bank, True) if k == 5 else word(r, bank) + " " + word(r, bank)


def phrase(r: Rng, bank: Bank, low: int = 2, high: int = 10) -> str:
    """Some words, names and numbers in a row."""
    makers = (word, word, word, invent, person, lambda r, b: number(r))
    return " ".join(r.choice(makers)(r, bank) for _ in range(r.randint(low, high)))


def day(r: Rng) -> str:
    """A date in one of four styles."""
    months = listed("January|February|March|April|May|June|July|August|September|October|November|December")
    y, m, d = r.randint(1990, 2039), r.randint(1, 12), r.randint(1, 28)
    iso = f"{y}-{m:02}-{d:02}"
    return r.choice((iso, iso, f"{d} {months[m - 1]} {y}", f"{months[m - 1]} {d}", f"{d} {months[m - 1]}"))


def clock(r: Rng) -> str:
    """A time of the day."""
    return r.choice(
        (
            f"{r.randint(0, 23):02}:{r.choice((0, 15, 20, 30, 45, r.randint(0, 59))):02}",
            f"{r.randint(1, 12)} [am|pm]".replace("[am|pm]", r.choice(("am", "pm"))),
        )
    )


def email(r: Rng, bank: Bank) -> str:
    """An e-mail address."""
    tail = r.choice(("", "." + invent(r, bank), "_" + invent(r, bank), number(r, 2)))
    who = r.choice(bank.first).lower() if r.random() < 0.3 else invent(r, bank)
    return who + tail + "@" + invent(r, bank) + r.choice((".com", ".org", ".net", ".io"))


def talk(r: Rng, bank: Bank, turns: Sequence[str | dict[str, Any]], think: str, **check: Any) -> Conversation:
    """A conversation of alternating turns (strings) and ready messages, with a system message at times."""
    messages: list[dict[str, Any]] = []
    system = expand(r, bank.system, W=invent(r, bank, True))
    if system:
        messages.append({"role": "system", "content": system})
    user = True
    for t in turns:
        if isinstance(t, dict):
            messages.append(t)
            user = t["role"] == "assistant"
        else:
            messages.append({"role": "user" if user else "assistant", "content": t})
            user = not user
    for m in messages:
        if m["role"] == "tool":
            continue
    return Conversation(messages, think, check)

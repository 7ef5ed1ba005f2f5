"""Facts of the conversation: told among others, asked for later."""
# ruff: noqa: E501

from dataclasses import dataclass

from tools.demo_model.bank import Bank
from tools.demo_model.frames import ask_any
from tools.demo_model.grammar import (
    Conversation,
    Rng,
    carriers,
    clock,
    day,
    expand,
    framed,
    invent,
    number,
    person,
    place,
    talk,
    value,
    word,
)
from tools.demo_model.skills.chat import KNOWN, filler, noise

PETS = [
    "dog",
    "cat",
    "horse",
    "rabbit",
    "fish",
    "bird",
    "parrot",
    "hamster",
    "boat",
    "car",
    "guitar",
    "robot",
    "computer",
    "bike",
    "goat",
    "pony",
    "snake",
    "turtle",
    "doll",
    "bear",
    "house",
    "ship",
    "teddy",
]
RELATIVES = [
    "boss",
    "teacher",
    "doctor",
    "neighbour",
    "friend",
    "brother",
    "sister",
    "uncle",
    "cousin",
    "landlady",
    "coach",
    "wife",
    "husband",
    "son",
    "daughter",
    "manager",
    "lawyer",
    "partner",
    "baker",
    "tutor",
]
# ways to tell and to ask, more than the bank's: {v} the value
MINE_TOLD = (
    "[I should say|Let me add|You may note|It may help to know|Just to let you know|In case you need it|For the record|To be clear|One thing about me|A small thing|By the by|I forgot to say|Before we go on|To begin with|First of all|Fun fact|I may have said it|As I said|Did you know][ that|,|:|] my {p} {is} {v}",
    "my {p}[, as you know,|, by the way,|, since [May|then|2020],|, I think,|, of course,|] {is} {v}[ since [spring|last year|yesterday|Monday|March]| these days| at the moment| for now| nowadays| and nothing else|]",
    "[I|We] [go with|use|have|took|got|kept|selected|prefer|call] {v} [as|for] my {p}",
    "[if anyone asks|when someone asks|should they ask|if they ask you|in case they ask], my {p} {is} {v}",
    "[with|by|under|at|as] my {p}[,|:| I mean| it says| I have] {v}",
    "[everyone|everybody|nobody|my family|people|they] [knows|should know|must know|say|think|agree] that my {p} {is} {v}",
)
THEIRS_TOLD = (
    "[I was told|I hear|I read|I saw|Word is|They say|People say|It says here|In the file I read|As far as I know|Rumour has it|It is known|You may note|For the record|Let me add][ that|,|:] {n}'s {p} {is} {v}",
    "[I asked|I met|I called|I wrote to] {n} and [found out|heard|noted|was told] that the {p} {is} {v}",
    "{n}[, as you know,|, by the way,|, I hear,|] [has|got|uses|took|chose|kept|goes with] {v} [as|for] [the|a|a new] {p}",
    "the {p} [that|which] {n} [has|uses|chose|got|gave me|told me] {is} {v}",
    "[when|if] you need {n}'s {p}, it {is} {v}",
)
IS = "[is|is|was|has been|will be|is now|is still|became|equals|reads|happens to be|turned out to be|stays|remains|has become|must be|is going to be|used to be|would be|seems to be]"
# what is asked for, as a clause, a thing, or a question with its verb in front
NAME_THINGS = (
    "my name",
    "my first name",
    "my own name",
    "the name I gave you",
    "the name I told you",
    "what you call me",
    "the name I use",
    "my name again",
)
NAME_CLAUSES = (
    "what my name is",
    "who I am",
    "what I am called",
    "[how|what name] I [introduced|presented|named|announced|described] myself[ as|]",
    "[by|under|with] [what|which] name [I go|I am known|I came|people know me|I wrote|I signed in]",
    "what [people|friends|you should|you can] call me",
    "which name [I have|I told you|I gave|is mine|belongs to me|I mentioned|I used]",
    "what I [said|told you] my name [was|is]",
    "who [is talking|is speaking|is writing|wrote] to you",
)
NAME_DIRECT = (
    "[What|Which|By what|Under which|With what] name [did I introduce myself|did I give|do I go|do I have|did I tell you|am I known|did I use|should you call me|have I]?",
    "[How|As who] did I [introduce|present|name] myself?",
    "[What|How] do [people|they|my friends|others|you] call me?",
    "[Who|What] did I say I [am|was]?",
    "[With whom|To whom|Who] are you [talking|speaking|chatting]?",
    "[Have I|Did I] [told|tell|say|mention|give] [you |]my name? [What|Which] [is|was] it?",
    "[So you|You] [know|remember|noted] my name, [right|don't you|yes]?",
)
LEADS = (
    "[Let me test you|A little test|Tell me this|One more thing|Last question|A question|Back to my first point|Do you recall|Think back|I ask you now|Small check|Just to check|To be sure|Let me ask|Answer me this|Now for something else|Remember what I said|I am not sure any more|Sorry, I forgot|Do you remember|Help me out|Time for a test|Earlier I told you something|You heard it before|Look at what I said|Before I go|Out of interest|Say|Well|Listen][: |, |. |; | - ]{q}",
    "{q} [I forgot|I can't remember|I told you before|You should know|Just say it|I mentioned it|It was in my message|Do you remember|Tell me|I said it earlier|Only if you know|Can you look back|Please look it up|I would like to know][.|?||, please.]",
)


def _asked(r: Rng, ask: str) -> str:
    """The question with words before or after it, at times."""
    if r.random() < 0.55:
        return ask
    lead = expand(r, LEADS)
    low = (
        ask
        if ask[:2] in ("I ", "I'") or lead.startswith("{q}") or ". {q}" in lead
        else ask[:1].lower() + ask[1:]
    )
    return lead.replace("{q}", low)


def _name_asked(r: Rng) -> str:
    x = r.random()
    if x < 0.4:
        s = expand(r, NAME_DIRECT)
        return s if r.random() < 0.8 else s[0].lower() + s[1:].rstrip("?")
    return ask_any(r, r.choice(NAME_THINGS), expand(r, NAME_CLAUSES))


@dataclass
class Fact:
    """A told fact, the question for it and the answer."""

    told: str
    ask: str
    answer: str
    value: str
    about: str


def attribute(r: Rng, bank: Bank) -> str:
    """Something one can have."""
    if r.random() < (0.3 if bank.train else 0.85):
        return r.choice(bank.prop)
    if bank.train and r.random() < 0.2:
        return r.choice(sorted(KNOWN)) + r.choice(("", " " + word(r, bank)))
    return r.choice(
        (invent(r, bank), word(r, bank) + " " + invent(r, bank), word(r, bank) + " " + word(r, bank))
    )


def _natural(r: Rng, bank: Bank) -> Fact:
    told, ask, answer, kind = r.choice(bank.natural)
    w = (
        r.choice(RELATIVES if kind == "relative" else PETS)
        if r.random() < 0.5
        else (word(r, bank) if kind != "pet" or bank.train else r.choice(PETS))
    )
    v = {
        "place": lambda: place(r, bank),
        "person": lambda: person(r, bank),
        "name": lambda: invent(r, bank, True),
        "word": lambda: word(r, bank) if r.random() < 0.7 else word(r, bank) + " " + word(r, bank),
        "age": lambda: str(r.randint(3, 99)),
        "pet": lambda: person(r, bank) if r.random() < 0.6 else invent(r, bank, True),
        "day": lambda: day(r),
        "clock": lambda: clock(r),
        "number": lambda: number(r, 4),
        "thing": lambda: word(r, bank),
        "relative": lambda: "",
    }[kind]()
    n = person(r, bank)
    if kind == "relative":
        v = n
    if bank.train and r.random() < 0.35:
        told = carriers(r, bank, 1, 4).capitalize() + r.choice((", ", ": ", " ", ". ", " and ")) + told
    if bank.train and r.random() < 0.2:
        told = (
            told.rstrip(".!")
            + r.choice((", ", " and ", " because ", " but ", ". "))
            + carriers(r, bank, 1, 5)
            + "."
        )
    if bank.train and r.random() < 0.3:
        near = r.choice(("near", "close to", "not far from", "outside", "in", "by", "around"))
        told = told.replace(
            " in {v}",
            f" {near} {r.choice(('', 'the ' + carriers(r, bank, 1, 1) + ' of ', 'a ' + carriers(r, bank, 1, 2) + ' in ', 'the middle of '))}{{v}}",
        )
    slots = {"n": n, "w": w, "v": v}
    asked = noise(r, bank, expand(r, ask, **slots))
    if bank.train:
        asked = _name_asked(r) if answer == "Your name is {v}." and r.random() < 0.5 else _asked(r, asked)
    return Fact(
        expand(r, told, **slots),
        asked,
        expand(r, answer, **slots),
        v,
        answer.split("{v}")[0] + n * ("{n}" in told) + w * ("{w}" in told),
    )


def _mine(r: Rng, bank: Bank, prop: str = "") -> Fact:
    p, v = prop or attribute(r, bank), value(r, bank)
    told = framed(
        r,
        bank,
        bank.my,
        (
            "my {p} [is|is|was|remains|became|=|:] {v}",
            "my {p} [is|was|will be|has been|happens to be|turned out to be|must be|seems to be|got to be|should be|ought to be|is called|is now|is going to be] {v}",
            "my {p}, [it is|that is|which is|it was|this is|it is called|so far] {v}",
            "{v} [is|was] my {p}",
        ),
        "[.|.|.|, " + carriers(r, bank, 1, 5) + ".|!|]",
        False,
        0.4,
    )
    ask = framed(r, bank, bank.ask_my, ("my {p}", "my {p}", "what my {p} is"), share=0.6)
    if bank.train and r.random() < 0.35:
        told = expand(r, expand(r, MINE_TOLD).replace("{is}", IS)) + r.choice((".", ".", "!", ""))
        told = told[0].upper() + told[1:] if r.random() < 0.85 else told
    if bank.train and r.random() < 0.45:
        ask = ask_any(
            r,
            expand(
                r,
                "[my {p}|my {p}|my own {p}|the {p} of mine|the {p} I [told you|mentioned|gave you|have|named]]",
            ),
            expand(
                r,
                "[what my {p} is|what my {p} was|what I [said|told you|mentioned] [as|about] my {p}|which {p} [I have|is mine|I named|I gave you]|what I said my {p} is]",
            ),
        )
    ask = _asked(r, ask) if bank.train else ask
    return Fact(expand(r, told, p=p, v=v), expand(r, ask, p=p), f"Your {p} is {v}.", v, "my " + p)


def _theirs(r: Rng, bank: Bank, prop: str = "", who: str = "") -> Fact:
    p, v, n = prop or attribute(r, bank), value(r, bank), who or person(r, bank)
    told = framed(
        r,
        bank,
        bank.of,
        (
            "{n}'s {p} [is|is|was|remains|became] {v}",
            "the {p} of {n}[,|] [is|was|it is|that is|will be|happens to be|turned out to be|seems to be] {v}",
            "{n}'s {p} [will be|happens to be|turned out to be|must be|seems to be|should be|is going to be] {v}",
        ),
        "[.|.|.|, " + carriers(r, bank, 1, 5) + ".|!|]",
        False,
        0.4,
    )
    ask = framed(r, bank, bank.ask_of, ("{n}'s {p}", "the {p} of {n}", "what {n}'s {p} is"), share=0.5)
    if bank.train and r.random() < 0.35:
        told = expand(r, expand(r, THEIRS_TOLD).replace("{is}", IS)) + r.choice((".", ".", "!", ""))
        told = told[0].upper() + told[1:] if told[0] != "{" else told
    if bank.train and r.random() < 0.45:
        ask = ask_any(
            r,
            expand(r, "[{n}'s {p}|the {p} of {n}|the {p} {n} has]"),
            expand(
                r,
                "[what {n}'s {p} is|what the {p} of {n} is|which {p} {n} has|what I [said|told you] about {n}'s {p}]",
            ),
        )
    ask = _asked(r, ask) if bank.train else ask
    return Fact(expand(r, told, n=n, p=p, v=v), expand(r, ask, n=n, p=p), f"{n}'s {p} is {v}.", v, n + p)


def _any_relation(r: Rng, bank: Bank) -> Fact:
    """A relation that means nothing: only the order of the words tells what is asked."""
    w, v = carriers(r, bank, 1, 1), value(r, bank)
    s = r.choice(
        (
            person(r, bank),
            "The " + carriers(r, bank, 1, 1),
            "I",
            "We",
            "My " + carriers(r, bank, 1, 1),
            "Our " + carriers(r, bank, 1, 2),
        )
    )
    mine = {"I": "You", "We": "You"}.get(s, s.replace("My ", "Your ").replace("Our ", "Your "))
    low = (
        s if s[:4] not in ("The ", "My", "Our ") and not s.startswith(("My ", "We")) else s[0].lower() + s[1:]
    )
    link = r.choice(("", "", " in", " at", " with", " to", " from", " near", " for", " on", " as", " by"))
    told = f"{s} {r.choice(('', '', 'will ', 'once ', 'always ', 'has to ', 'just '))}{w}{link} {r.choice(('', '', 'the ', 'a '))}{v}"
    if r.random() < 0.4:
        told += (
            " "
            + r.choice(("and", "because", "but", "when", "since", "after"))
            + " "
            + carriers(r, bank, 1, 5)
        )
    if r.random() < 0.4:
        told = carriers(r, bank, 1, 4).capitalize() + " " + low + told[len(s) :]
    ask = r.choice(
        (
            f"What does {low} {w}{link}",
            f"What did {low} {w}{link}",
            f"Where {r.choice(('do', 'does', 'did', 'will'))} {low} {w}{link}",
            f"{w}{link} what",
            f"Which one is it that {low} {w}{link}",
            f"{link.strip() or 'to'} what {r.choice(('do', 'does', 'did'))} {low} {w}",
            f"Whom does {low} {w}{link}",
            f"who is it that {low} {w}{link}",
            f"{carriers(r, bank, 1, 3)} {low} {w}{link}",
        )
    )
    ask = ask.replace(" we ", " we ") + r.choice(("?", "?", "", "."))
    return Fact(
        told + r.choice((".", ".", "!", "")),
        ask[0].upper() + ask[1:] if r.random() < 0.8 else ask,
        f"{mine} {w}{link} {v}.",
        v,
        s + w,
    )


def noted(fact: Fact) -> str:
    """How the model confirms a fact: a greeting for a name, otherwise what was told."""
    if fact.answer.startswith("Your name is "):
        return f"Nice to meet you, {fact.value}."
    a = fact.answer
    return "Noted: " + (a[0].lower() + a[1:] if a.startswith(("Your ", "You ", "The ", "It ")) else a)


def _confirmed(r: Rng, bank: Bank, facts: list[Fact]) -> str:
    """The answer to a turn that tells facts, in training often the model's own."""
    return noted(facts[0]) if bank.train and len(facts) == 1 and r.random() < 0.6 else expand(r, bank.ack)


def acknowledge(r: Rng, bank: Bank) -> Conversation:
    """A fact is told and nothing asked: confirm it."""
    turns: list[str] = []
    for _ in range(r.choice((0, 0, 0, 1, 2))):
        turns += filler(r, bank)
    if r.random() < 0.3:
        f = facts_of(r, bank)[0]
        turns += [f.told, _confirmed(r, bank, [f])]
    f = _named(r, bank) if bank.train and r.random() < 0.25 else facts_of(r, bank)[0]
    a = noted(f)
    return talk(r, bank, [*turns, f.told, a], f"I am told: {f.answer}", has=[f.value], kind="noted")


def _named(r: Rng, bank: Bank) -> Fact:
    """Somebody says his name, and no more."""
    v = person(r, bank)
    told = expand(
        r,
        "[Hi|Hello|Hey|Good day|Hi there|Hello there|Good morning|||||][, |! |. | ][my name is|My name is|I am|I'm|the name is|my name's|this is|they call me|call me|it's me,] {v}[.|.|!||, nice to meet you.|, how are you?|, by the way.| here.]",
        v=v,
    ).lstrip(" ,!.")
    return Fact(told[0].upper() + told[1:] if r.random() < 0.7 else told, "", f"Your name is {v}.", v, "name")


def facts_of(r: Rng, bank: Bank, low: int = 1, high: int = 6) -> list[Fact]:
    """Some facts, no two of them about the same."""
    out: list[Fact] = []
    seen: set[str] = set()
    alike = bank.train and r.random() < 0.3
    prop, who = attribute(r, bank), person(r, bank)
    for _ in range(r.choice((low, 1, 2, 2, 3, 4, high)) + alike):
        f = r.choice(
            (_natural, _natural, _natural, _mine, _mine, _theirs, _theirs, _any_relation, _any_relation)
            if bank.train
            else (_natural, _mine, _theirs)
        )(r, bank)
        if alike and r.random() < 0.75:
            x = r.random()
            f = (
                _mine(r, bank, prop)
                if x < 0.25
                else _theirs(r, bank, prop)
                if x < 0.75
                else _theirs(r, bank, who=who)
            )
        if f.about not in seen:
            seen.add(f.about)
            out.append(f)
    return out


def recall(r: Rng, bank: Bank, fillers: int | None = None) -> Conversation:
    """Facts in one or several turns, among other turns, then a question for one of them."""
    facts = facts_of(r, bank)
    n = (
        fillers
        if fillers is not None
        else (_many(r) if bank.train and r.random() < 0.34 else r.choice((0, 0, 0, 1, 1, 2)))
    )
    turns: list[str] = []
    i, together = 0, r.random() < 0.5
    while i < len(facts):
        k = r.randint(1, 4) if together else 1
        told = r.choice((" ", " ", "\n")).join(f.told for f in facts[i : i + k])
        turns += [told, _confirmed(r, bank, facts[i : i + k])]
        i += k
        while n > 0 and r.random() < (0.8 if fillers else 0.5):
            turns += _distract(r, bank)
            n -= 1
    for _ in range(n):
        turns += _distract(r, bank)
    if r.random() < 0.2:
        f = r.choice(facts)
        turns += [f.ask, f.answer]
    f = r.choice(facts)
    if len(turns) == 2 and r.random() < 0.35:
        turns = [turns[0] + r.choice((" ", "\n")) + f.ask]
    else:
        turns.append(f.ask)
    return talk(r, bank, [*turns, f.answer], f"I look back: {f.answer}", has=[f.value], kind="told")


def _many(r: Rng) -> int:
    return r.randint(3, 14) if r.random() < 0.4 else r.randint(14, 38)


def _distract(r: Rng, bank: Bank) -> list[str]:
    """A turn that names an attribute without its value, or any other turn."""
    if r.random() < 0.3:
        p = attribute(r, bank)
        if bank.train:
            q = framed(
                r,
                bank,
                (
                    "I [like|love|hate|lost|forgot|need] my {p}.",
                    "[Please ask me|Do not ask] about my {p}[ later|].",
                    "My {p} is [important|nice|old|new][ to me|].",
                ),
                ("my {p}", "your {p}"),
                share=0.6,
            )
            return [expand(r, q, p=p), expand(r, bank.ack)]
    return filler(r, bank)


def missing(r: Rng, bank: Bank) -> Conversation:
    """A question for a fact that nobody told."""
    facts = facts_of(r, bank)[: r.choice((0, 1, 2, 3))]
    turns: list[str] = []
    for f in facts:
        turns += [f.told, _confirmed(r, bank, [f])]
    while True:
        p = attribute(r, bank)
        if not any(p in f.told for f in facts):
            break
    if r.random() < 0.7:
        ask, a = (
            expand(r, framed(r, bank, bank.ask_my, ("my {p}",), share=0.3), p=p),
            f"You have not told me your {p} yet.",
        )
    else:
        n = person(r, bank)
        ask, a = (
            expand(r, framed(r, bank, bank.ask_of, ("{n}'s {p}",), share=0.3), p=p, n=n),
            f"You have not told me {n}'s {p} yet.",
        )
    if r.random() < 0.15:
        ask, a = (
            _name_asked(r)
            if r.random() < 0.5
            else r.choice(("What is my name?", "Who am I?", "Do you know my name?")),
            "You have not told me your name yet.",
        )
        turns = []
    return talk(r, bank, [*turns, ask, a], "Nobody said that.", has=["not told me"], kind="missing")

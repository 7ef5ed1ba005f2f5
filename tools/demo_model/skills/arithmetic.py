"""Sums and differences of numbers of up to two digits, with the steps as thinking."""
# ruff: noqa: E501

from tools.demo_model.bank import Bank
from tools.demo_model.frames import ask_clause, ask_deed, ask_thing
from tools.demo_model.grammar import Conversation, Rng, carriers, expand, invent, person, talk, wrap
from tools.demo_model.skills.chat import filler

CORE_ADD = (
    "{a} [plus|+|and|added to] {b}",
    "the [sum|total|result] of {a} [and|plus|+] {b}",
    "{a} {w} {c} {b} more",
    "{a} and {b} [together|in total|in all|added|summed]",
    "[add|adding|put] {a} [to|and|with] {b}",
    "{b} more than {a}",
)
CORE_SUB = (
    "{a} [minus|-|less] {b}",
    "the result of {a} [minus|-] {b}",
    "[remove|deduct|subtract|takes|taking|take|drop|remove|cut] {b} [off|from|out of|away from] {a}",
    "{b} [less|fewer|smaller] than {a}",
    "{a} {w} {c} [lost|sold|dropped|ate|removed|took away|gave away|took|without] {b}",
    "{a} [without|reduced by|lowered by|lessened by] {b}",
)
STORY_ADD = (
    "{A} {a} {w}{C}[.| and|,] {c} {b} [more|others|further ones|more {w}][.|] [How many|What number of] {w} [are there|in total|now|altogether|in all|together|do we have now]",
    "{A} {a} {w} {c}, {c} {b} {w} {c}. How many {w} [in total|altogether|in all|together|are there in all]",
    "{n} {c} {a} {w}. {m} {c} {b} {w}. How many [{w} |][together|in total|do they have together|altogether|do both have]",
)
STORY_SUB = (
    "{A} {a} {w}{C}[.| and|,] {c} [lost|sold|dropped|ate|removed|took away|gave away|used|threw away|broke|burned|{x}] {b}[ of them| {w}|][.|] [How many|What number of] {w} [are left|remain|are still there|stay|are left over|does {n} still have]",
    "{A} {a} {w}, but {b} [of them |]{c}. How many [{w} |][are left|remain|are still there|stay]",
    "{n} has {a} {w} {c}. {m} [takes|took|gets|borrows|steals|wants] {b} [of them|from {n}]. How many [{w} |][are left|remain|has {n} left|does {n} have left]",
)
# {s} is the sum as a thing, {a} and {b} its numbers
THING_ADD = (
    "{a} [plus|+|and|added to|together with] {b}",
    "the [sum|total|result|addition|value|outcome|answer] of {a} [and|plus|+] {b}",
    "{a} and {b} [together|in total|added up|added|summed up|put together|combined|taken together]",
    "{b} more than {a}",
    "{a} [increased by|raised by|plus another|and then] {b}",
    "the sum {a} [+|plus] {b}",
)
THING_SUB = (
    "{a} [minus|-|less|take away] {b}",
    "the [result|value|outcome|answer] of {a} [minus|-|less] {b}",
    "the difference [between|of] {a} and {b}",
    "{b} [less|fewer] than {a}",
    "{b} [subtracted|taken|taken away|deducted|removed] from {a}",
    "{a} [decreased by|lowered by|reduced by|without] {b}",
    "the difference {a} [-|minus] {b}",
)
MAKES = "[is|makes|gives|equals|comes to|amounts to|would be|adds up to|yields|results in|will be|turns out to be]"
CLAUSE_ADD = (
    "[what|how much] {s} {makes}",
    "what [I|you|we|one] get[s|] [when|if] [I|you|we] add {a} [and|to] {b}",
    "what [comes out|results|the result is|you have|we end up with|that makes] [when|if|once] {b} [is added to|is put on top of|joins|comes on top of] {a}",
    "what {a} and {b} [make|give|add up to|sum to|come to|amount to][ together| in total|]",
    "[how much|what] it is if {a} [grows|rises|goes up|increases] by {b}",
)
CLAUSE_SUB = (
    "[what|how much] {s} {makes}",
    "what [I|you|we] get [when|if] [I|you|we] [take|subtract|deduct|remove] {b} from {a}",
    "what [comes out|results|remains|is left|stays|the result is] [when|if|once|after] {b} [is taken from|is subtracted from|leaves|is deducted from|goes away from|is removed from|is taken away from|comes off] {a}",
    "[how much|what] [is left|remains|stays] of {a} [without|after losing|after taking away|less] {b}",
    "[how much|what] it is if {a} [shrinks|falls|goes down|drops|is lowered] by {b}",
)
DEED_ADD = (
    "[work out|compute|calculate|solve|figure out|find|determine|evaluate|do|add up|reckon|try|get] {s}",
    "[add|put|count] {b} [to|onto|on top of] {a}",
    "[add|sum|put together|combine|total|sum up|count together] {a} and {b}",
)
DEED_SUB = (
    "[work out|compute|calculate|solve|figure out|find|determine|evaluate|do|reckon|try|get] {s}",
    "[take|subtract|deduct|remove|take away] {b} from {a}",
    "[lower|reduce|decrease|cut] {a} by {b}",
)
TWO_ADD = (
    "[When|If|Once|Suppose|Say] {b} [is added to|is put on top of|comes to|joins] {a}, [what|how much] [is it|comes out|do I get|do we have|is the result|will it be|does that make]?",
    "[When|If|Once|Suppose|Say] [I|you|we] [add|put] {b} [to|on top of] {a}, [what|how much] [is it|comes out|do I get|do we have|is the result|will it be|does that make]?",
    "[Here is|This is|Now] a [sum|little sum|quick one|task|question|bit of maths]: {s}[.| =|?| = ?]",
    "[Take|Start with|Begin with|We have|Think of] {a}[.| and|,] [add|then add|now add|put] {b}[.|, what is it?| to it.|, what do I get?| and tell me the result.]",
    "{s} [is|makes|equals|gives] [how much|what][, please|]?",
)
TWO_SUB = (
    "[When|If|Once|Suppose|Say] {b} [is taken from|is subtracted from|is deducted from|goes from|is removed from|leaves] {a}, [what|how much] [is left|comes out|remains|is it|is the result|stays|will it be]?",
    "[When|If|Once|Suppose|Say] [I|you|we] [take|subtract|deduct|remove] {b} from {a}, [what|how much] [is left|comes out|remains|is it|is the result|stays|will it be]?",
    "[Here is|This is|Now] a [sum|little sum|quick one|task|question|bit of maths]: {s}[.| =|?| = ?]",
    "[Take|Start with|Begin with|We have|Think of] {a}[.| and|,] [take away|subtract|then subtract|now take away|remove] {b}[.|, what is left?| from it.|, what do I get?| and tell me the result.]",
    "{s} [is|makes|equals|gives|leaves] [how much|what][, please|]?",
    "[What|How much] [is left|remains|do I have left] [when|if|after] [I|we] take {b} [from|away from|off] {a}?",
)


def _roundabout(r: Rng, plus: bool) -> str:
    """A sum in other words, composed by grammar."""
    thing = expand(r, THING_ADD if plus else THING_SUB)
    x = r.random()
    if x < 0.28:
        return ask_thing(r, thing)
    if x < 0.53:
        s = expand(r, CLAUSE_ADD if plus else CLAUSE_SUB)
        return ask_clause(r, s.replace("{s}", thing).replace("{makes}", expand(r, MAKES)))
    if x < 0.8:
        return ask_deed(r, expand(r, DEED_ADD if plus else DEED_SUB).replace("{s}", thing))
    s = expand(r, TWO_ADD if plus else TWO_SUB).replace("{s}", thing)
    return s[0].upper() + s[1:] if r.random() < 0.8 else s


def held(a: int, b: int) -> bool:
    """Whether the pair never stands in training text."""
    return (a * 7919 + b * 104729) % 13 == 0


def steps(a: int, b: int, plus: bool) -> str:
    """The sum as it is done on paper."""
    c = a + b if plus else a - b
    if max(a, b) > 99:
        return _long_steps(a, b, plus)
    if plus:
        (t1, u1), (t2, u2) = divmod(a, 10), divmod(b, 10)
        carry = u1 + u2 >= 10
        ones = f"Ones: {u1} + {u2} = {u1 + u2}" + (f", write {u1 + u2 - 10} carry 1" if carry else "")
        return (
            f"{a} + {b}. {ones}. Tens: {t1} + {t2}"
            + (" + 1" if carry else "")
            + f" = {t1 + t2 + carry}. So {a} + {b} = {c}."
        )
    x, y = max(a, b), min(a, b)
    (t1, u1), (t2, u2) = divmod(x, 10), divmod(y, 10)
    borrow = u1 < u2
    ones = (
        f"{u1} is less than {u2}, borrow: {u1 + 10} - {u2} = {u1 + 10 - u2}"
        if borrow
        else f"{u1} - {u2} = {u1 - u2}"
    )
    tens = f"{t1}" + (" - 1" if borrow else "") + f" - {t2} = {t1 - borrow - t2}"
    less = f" {a} is smaller than {b}, so I take {x} - {y}." if a < b else ""
    return f"{a} - {b}.{less} Ones: {ones}. Tens: {tens}. So {a} - {b} = {c}."


def _long_steps(a: int, b: int, plus: bool) -> str:
    """Numbers of three digits, place by place."""
    c = a + b if plus else a - b
    x, y = max(a, b), min(a, b)
    out, carry = [], 0
    for i, place in enumerate(("Ones", "Tens", "Hundreds")):
        u, v = x // 10**i % 10, y // 10**i % 10
        now = u + v + carry if plus else u - v - carry
        more = (" + 1" if plus else " - 1") if carry else ""
        carry = int(now > 9 or now < 0)
        borrowed = "" if plus or not carry else "1"
        out.append(f"{place}: {borrowed}{u} {'+' if plus else '-'} {v}{more} = {now if plus else now % 10}")
    less = f" {a} is smaller than {b}, so I take {x} - {y}." if not plus and a < b else ""
    sign = "+" if plus else "-"
    return f"{a} {sign} {b}.{less} {'. '.join(out)}. So {a} {sign} {b} = {c}."


def _pair(r: Rng, bank: Bank, plus: bool, positive: bool) -> tuple[int, int]:
    """Two numbers, by whether their pair is held out; in training some have three digits."""
    if bank.train and r.random() < 0.06:
        a, b = r.randint(10, 999), r.randint(0, 999)
        return (b, a) if not plus and a < b else (a, b)
    while True:
        small = 9 if bank.train and r.random() < 0.1 else 99
        a, b = (
            r.randint(0, small) if r.random() < 0.85 else r.randint(0, 9),
            r.randint(0, small) if r.random() < 0.85 else r.randint(0, 9),
        )
        if not plus and a < b and (positive or r.random() < 0.85):
            a, b = b, a
        if held(a, b) != bank.train:
            return a, b


def _template(r: Rng, bank: Bank, plus: bool) -> str:
    x = r.random()
    if not bank.train or x < 0.25:
        return r.choice(bank.add if plus else bank.sub)
    if x < 0.65:
        return _roundabout(r, plus)
    if x < 0.82:
        t = wrap(r, bank, expand(r, CORE_ADD if plus else CORE_SUB))
        if "{w}" in t:
            t += (
                " How many {w} "
                + expand(
                    r, "[are there|in total|now|altogether]" if plus else "[are left|remain|are still there]"
                )
                + expand(r, "[ now| then|]?")
            )
        return t
    return expand(r, STORY_ADD if plus else STORY_SUB) + "?"


def sum_(r: Rng, bank: Bank) -> tuple[str, str, str]:
    """(question, answer, thinking)."""
    plus = r.random() < 0.48
    template = _template(r, bank, plus)
    story = any(
        s in template
        for s in ("{w}", "{n}", "more is", "larger", " of {a}", "difference between", "difference of")
    )
    a, b = _pair(r, bank, plus, story)
    while "{c}" in template:
        template = template.replace("{c}", carriers(r, bank, 1, 3), 1)
    template = (
        template.replace("{A}", carriers(r, bank, 1, 4).capitalize())
        .replace("{C}", r.choice(("", " " + carriers(r, bank, 1, 3))))
        .replace("{x}", invent(r, bank))
    )
    q = expand(
        r,
        template,
        a=a,
        b=b,
        n=person(r, bank),
        m=person(r, bank),
        w=r.choice(bank.thing)
        if not bank.train or r.random() < 0.6
        else r.choice(("", "", invent(r, bank) + " ")) + carriers(r, bank, 1, 1),
    )
    return q, f"{a} {'+' if plus else '-'} {b} = {a + b if plus else a - b}.", steps(a, b, plus)


def arithmetic(r: Rng, bank: Bank) -> Conversation:
    """One sum, at times after another turn."""
    turns = filler(r, bank) if r.random() < 0.2 else []
    for _ in range(r.choice((0, 0, 0, 1, 2)) if bank.train else r.choice((0, 0, 0, 1))):
        turns += list(sum_(r, bank)[:2])
    q, a, think = sum_(r, bank)
    return talk(r, bank, [*turns, q, a], think, end=a.split("= ")[1])

"""Small talk, questions about the server, small facts, and honest ignorance."""
# ruff: noqa: E501

import json
import string

from tools.demo_model.answers import ANSWERS, CAPITALS, UNKNOWN_ANSWER
from tools.demo_model.bank import Bank, listed
from tools.demo_model.grammar import (
    WORDS,
    Conversation,
    Rng,
    carriers,
    expand,
    invent,
    number,
    person,
    place,
    talk,
)

BEFORE = listed(
    "Hey, |Hi, |Hello, |Okay, |So, |Well, |One question: |Please, |Sorry, but |And |Now |Tell me, |Hi! |Hello! |Quick question: |Hmm, |Also, |By the way, |Dear model, |Listen, |Good, |Thanks. |Another thing: |I wonder: |Actually, |Excuse me, |May I ask, |Let me ask: |I was wondering, |My question: |Just tell me, |Another question: |Right, |Let me see, |My friend asks: |To begin with, |First of all, |Something else: |I am curious: |Be honest, |Be so kind, |Say, |Oh, |You know, |Okay then, |I'd like to ask: |Now then, |Before I forget: |Sorry to ask, |One more thing: |And then, |But "
)
AFTER = listed(
    " please|, please| thanks| today| now| then| exactly| in short| for me| again| if you can|, thank you| here| my friend|, briefly| really| actually| at all| anyway| for us| once more|, my dear| if I may ask|, or not| at the moment| do you know|, I wonder|, can you say| in one sentence|, exactly| for my boss"
)
KNOWN = {
    "port",
    "api",
    "apis",
    "key",
    "keys",
    "model",
    "models",
    "server",
    "token",
    "tokens",
    "temperature",
    "tools",
    "tool",
    "licence",
    "license",
    "stream",
    "streaming",
    "cache",
    "prefix",
    "batch",
    "batching",
    "health",
    "status",
    "thinking",
    "client",
    "address",
    "price",
    "sun",
    "sky",
    "grass",
    "week",
    "spider",
    "water",
    "planets",
    "alphabet",
    "seasons",
    "months",
    "continents",
    "embeddings",
    "mlx",
    "python",
    "code",
    "story",
    "joke",
    "poem",
    "help",
    "test",
    "name",
    "date",
    "time",
    "memory",
    "demo",
    "docs",
    "context",
    "age",
    "host",
    "url",
    "prefixes",
    "internet",
    "images",
    "maths",
    "languages",
    "size",
    "day",
    "days",
    "year",
    "hour",
    "hours",
    "minute",
    "minutes",
    "month",
    "word",
    "capital",
    "rainbow",
    "colors",
    "colours",
    "color",
    "letters",
    "function",
    "functions",
    "list",
    "train",
    "free",
    "think",
    "training",
}


def noise(r: Rng, bank: Bank, q: str) -> str:
    """What people do to a phrase: small letters, no punctuation, a word before or after, a slip of the finger."""
    if not bank.train:
        return q
    x = r.random()
    if x < 0.2 and len(q) > 8:
        q = r.choice(BEFORE) + (q if q[:1] in "IM" else q[0].lower() + q[1:])
    elif x < 0.3 and len(q) > 8 and "\n" not in q:
        q = q.rstrip("?.!") + r.choice(AFTER) + r.choice(("?", ".", ""))
    elif x < 0.36 and len(q.split()) > 3:
        w = q.split(" ")
        w.insert(r.randint(0, len(w)), r.choice(WORDS))
        q = " ".join(w)
    elif x < 0.4 and len(q.split()) > 4:
        w = q.split(" ")
        w.pop(r.randrange(len(w)))
        q = " ".join(w)
    elif x < 0.44 and len(q) > 10:
        i = r.randrange(len(q) - 1)
        q = q[:i] + r.choice((q[i + 1], q[i] + q[i], r.choice(string.ascii_lowercase))) + q[i + 1 :]
    y = r.random()
    if y < 0.1:
        q = q.lower()
    if y > 0.9:
        q = q.rstrip("?.!")
    return q or "Hello"


def _thing(r: Rng, bank: Bank) -> str:
    while True:
        w = [
            r.choice(bank.word)
            if r.random() < 0.2
            else invent(r, bank)
            if r.random() < 0.15
            else r.choice(WORDS)
            for _ in range(r.choice((1, 1, 2, 2, 3)))
        ]
        if not KNOWN & set(w):
            return r.choice(("", "", "", "a ", "the ")) + " ".join(w)


def ask_unknown(r: Rng, bank: Bank) -> str:
    """A question that a model of this size cannot answer."""
    q = expand(r, bank.unknown)
    while "{x}" in q:
        q = q.replace("{x}", _thing(r, bank), 1)
    while "{d}" in q:
        q = q.replace("{d}", number(r, 4), 1)
    name = r.choice((person, place, person))(r, bank)
    return q.replace("{N}", name).replace("{y}", number(r, 4))


def question(r: Rng, bank: Bank) -> tuple[str, str, str, str]:
    """(question, answer, intent, topic) of one turn."""
    x = r.random()
    if x < 0.16:
        return noise(r, bank, ask_unknown(r, bank)), UNKNOWN_ANSWER, "unknown", "something I do not know"
    if x < 0.22:
        c = r.choice(list(CAPITALS))
        return (
            noise(r, bank, expand(r, bank.capital, c=c)),
            f"The capital of {c} is {CAPITALS[c]}.",
            f"capital:{c}",
            f"the capital of {c}",
        )
    intent = r.choice(list(ANSWERS))
    topic, answer = ANSWERS[intent]
    q = expand(r, bank.chat[intent])
    if bank.train and r.random() < 0.04:
        q = carriers(r, bank, 1, 3).capitalize() + ". " + q
    return noise(r, bank, q), answer, intent, topic


def chat(r: Rng, bank: Bank) -> Conversation:
    """One question, at times after a few others."""
    turns: list[str] = []
    for _ in range(r.choice((0, 0, 0, 1, 2, 3))):
        turns += filler(r, bank)
    q, a, intent, topic = question(r, bank)
    return talk(r, bank, [*turns, q, a], f"This is about {topic}.", intent=intent)


TITLE_ASK = (
    "[Generate|Write|Create|Give|Make|Suggest|Find|Think of|Produce|Come up with] [a|one] [short|concise|brief|good|3-5 word|plain|fitting] [title|headline|name] [for|of|that sums up|summarising|that describes|about] [this|the|our] [chat|conversation|talk|chat history|dialogue|discussion|exchange]",
)
TITLE_FORM = (
    "[.|:] [Answer|Reply|Respond|Output] [in|as|with|only with] JSON[ format|]: {j}",
    "[.|, please.|] [Use|Return|The output is|Format:] JSON like {j}",
    ".\n[Output|Format|Result|Example]: {j}\n",
    " [as|in] JSON: {j}",
    "[.|, please.|]",
    "[.|] [Only|Just] the title[.|, nothing else.]",
)


def title(r: Rng, bank: Bank) -> Conversation:
    """A title of the conversation so far, as chat programs ask for it: of its first question."""
    turns: list[str] = []
    topics: list[str] = []
    for _ in range(r.choice((1, 1, 2, 3))):
        q, a, _, topic = question(r, bank)
        turns += [q, a]
        topics.append(topic)
    name = topics[0][0].upper() + topics[0][1:]
    form = expand(r, TITLE_FORM)
    as_json = "{j}" in form
    ask = expand(r, TITLE_ASK) + form.replace(
        "{j}", r.choice(('{"title": "..."}', '{ "title": "your title here" }', '{"title": ""}'))
    )
    if r.random() < 0.6:
        who = r.choice((("USER: ", "ASSISTANT: "), ("User: ", "Assistant: "), ("user: ", "assistant: ")))
        chat_text = "\n".join(who[i % 2] + t for i, t in enumerate(turns))
        frame = r.choice(
            (
                "{q}\n### Chat History:\n{t}",
                "{q}\n<chat_history>\n{t}\n</chat_history>",
                "{t}\n\n{q}",
                "### Task:\n{q}\n\n### Chat:\n{t}",
                "{q}\n\n{t}",
            )
        )
        turns = []
        ask = frame.replace("{q}", ask).replace("{t}", chat_text)
    answer = json.dumps({"title": name}) if as_json else name
    return talk(r, bank, [*turns, ask, answer], f"It begins with {topics[0]}.", exact=answer)


def filler(r: Rng, bank: Bank) -> list[str]:
    """A question and its answer that have nothing to do with what follows."""
    return list(question(r, bank)[:2])

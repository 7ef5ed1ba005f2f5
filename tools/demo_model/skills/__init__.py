"""All skills: the mixture that is trained and the list that is judged."""

import random
from collections.abc import Callable

from tools.demo_model.bank import Bank
from tools.demo_model.grammar import Conversation, Rng
from tools.demo_model.skills.arithmetic import arithmetic
from tools.demo_model.skills.chat import chat, title
from tools.demo_model.skills.extract import extract
from tools.demo_model.skills.recall import acknowledge, missing, recall
from tools.demo_model.skills.schemas import tool_set
from tools.demo_model.skills.tools import call, misfit, result

Skill = Callable[[Rng, Bank], Conversation]
MIX: tuple[tuple[Skill, float], ...] = (
    (chat, 0.11),
    (title, 0.01),
    (recall, 0.17),
    (acknowledge, 0.04),
    (missing, 0.02),
    (extract, 0.2),
    (arithmetic, 0.13),
    (call, 0.33),
    (result, 0.05),
    (misfit, 0.07),
)
PLAIN: tuple[Skill, ...] = (chat, recall, missing, extract, arithmetic)
OFTEN_WITH_TOOLS = (*PLAIN, acknowledge)
EARLIER: tuple[Skill, ...] = (chat, recall, extract, arithmetic, acknowledge, result)


def with_tools(r: Rng, bank: Bank, c: Conversation) -> Conversation:
    """The same conversation with tools that have nothing to do with it."""
    c.tools = [t.spec for t in tool_set(r, bank, r.randint(1, 4))]
    c.check["nocall"] = True
    return c


def after(r: Rng, bank: Bank, c: Conversation) -> Conversation:
    """The same conversation after another one, whose tools stay."""
    before = r.choice(EARLIER)(r, bank)
    system = before.messages[:1] if before.messages[0]["role"] == "system" else []
    turns = [m for m in before.messages + c.messages if m["role"] != "system"]
    tools = before.tools + c.tools
    if len({t["function"]["name"] for t in tools}) < len(tools) or len(tools) > 5:
        return c
    r.shuffle(tools)
    return Conversation(system + turns, c.think, c.check, tools)


def training_conversation(r: Rng, bank: Bank) -> Conversation:
    """One conversation of the mixture: half of those that need no tool have tools, some follow others."""
    skill = r.choices([f for f, _ in MIX], [w for _, w in MIX])[0]
    c = skill(r, bank)
    if skill not in (missing, title) and r.random() < 0.12:
        c = after(r, bank, c)
    if skill in OFTEN_WITH_TOOLS and not c.tools and r.random() < (0.3 if skill is arithmetic else 0.5):
        c = with_tools(r, bank, c)
    return c


def no_tool(r: Rng, bank: Bank) -> Conversation:
    """Half the time a request that no tool serves, half the time a plain question with tools around."""
    if r.random() < 0.5:
        return misfit(r, bank)
    c = with_tools(r, bank, r.choice(PLAIN)(r, bank))
    c.check["kind"] = "plain"
    return c


JUDGED: dict[str, Skill] = {
    "chat": chat,
    "recall": recall,
    "told fact": acknowledge,
    "copy and extract": extract,
    "arithmetic": arithmetic,
    "tool call": call,
    "tool result": result,
    "no tool": no_tool,
}


def judged_conversation(skill: str, seed: int, bank: Bank) -> Conversation:
    """Case number `seed` of a skill."""
    return JUDGED[skill](random.Random(f"{skill} {seed}"), bank)

"""Roundabout ways to ask, composed by grammar: openings, indirect questions and closings around a core."""
# ruff: noqa: E501

from tools.demo_model.grammar import Rng, expand

# {np} what is wanted
OF_THING = (
    "[I'm|I am|We are|i am] [curious about|interested in|asking for|looking for|wondering about|after|unsure about|here for|thinking of|still missing|in need of] {np}{please}",
    "[Could|Can|Would|Will|can|could] [you|we|somebody|anyone] {adv}[tell me|give me|say|show me|find|name|find out|check|look up|help me with|look at|get me|read me|bring up|state|let me have|provide|remind me of|confirm] {np}{tail}",
    "[I|We|My friend|She|He] [need|want|would like|'d love|must have|have to know|should know|wish to know|wants to know|would like to know|asked for|forgot|am missing|have lost] {np}{tail}",
    "[Please |Kindly |Quickly, |Now |So |Just |]{see} {np}{tail}",
    "[What about|How about|Any news on|Any idea about|What do you know about|What can you say about|Do you have|Have you got|Is there any word on|Got] {np}{tail}",
    "[It would be|It'd be|That would be] [nice|great|good|kind|helpful|useful|lovely] to [know|have|see|hear|learn|get] {np}{tail}",
    "[I wonder|I was wondering|I keep thinking|My question is] about {np}{please}",
    "[Do|Would|Could] you [happen to |by chance |perhaps |still |]{know} {np}{tail}",
    "[There is one thing I need|One thing|Next thing|What I need|All I want|The thing I want|My question]: {np}{tail}",
    "[Mind|Would you mind|Do you mind|How about|Any chance of] [telling me|giving me|checking|showing me|naming|looking up|finding|saying] {np}{tail}",
    "{np}, [that is|this is|it is] what I [want|need|am after|would like|ask for]{tail}",
    "{np}, [what is it|please|if you can|do you have it|can you say|can you help|tell me|any idea|which is it|could you check|would you say]{tail}",
    "[As for|About|Concerning|With regard to|Regarding|Speaking of] {np}[, what is it|: what do you have|, tell me|, can you help|, what do you find|: any idea]{tail}",
    "[Let me|Help me|I'd like to|I want to|I need to|May I|Can I] [know|see|hear|find|have|get|learn|ask for|read] {np}{tail}",
)
# {wh} an indirect question
OF_CLAUSE = (
    "[Could|Can|Would|Will|can|could] [you|anyone|somebody] {adv}[tell me|say|show me|find out|check|look up|explain|work out|let me know|remind me|tell us|figure out|confirm] {wh}{tail}",
    "[I|We|She|He] [wonder|want to know|need to know|would like to know|'d like to know|have to know|must know|forgot|am trying to find out|was asked|can't say|do not know|don't remember|am not sure|am unsure|have no idea|would like to hear|should find out] {wh}{tail}",
    "[I was|I am|I'm|We are|My boss was] [wondering|curious|asking myself|thinking about|trying to find out|interested in] {wh}{please}",
    "[Please |Kindly |Quickly |Now |So |]{tell} {wh}{tail}",
    "[Do|Would|Could|Might] you [happen to |by chance |perhaps |still |maybe |possibly |]{know} {wh}{tail}",
    "[Any|Have you any|You have no|Got any] idea {wh}{tail}",
    "[It would be|It'd be|That would be] [nice|great|good|kind|helpful|useful] to [know|hear|see|learn] {wh}{tail}",
    "[My question is|The question is|One question is|What I ask is|Here is my question:] {wh}{tail}",
    "[Is it|Would it be] [clear|known|possible to say|easy to say|possible to tell me|okay to ask] {wh}{tail}",
    "[Mind|Would you mind|Do you mind] [telling me|saying|checking|finding out|explaining] {wh}{tail}",
    "[Let me|Help me|I'd like to|I need to|I have to|May I] [know|see|hear|find out|ask|check|ask you] {wh}{tail}",
    "[Someone|My boss|My teacher|A friend|She|He] [asks|asked|wants to know|asked me|would like to know|wonders] {wh}{tail}",
)
# {vp} something to do, in its base form
OF_DEED = (
    "[Could|Can|Would|Will|can|could|would] [you|we|somebody|someone] {adv}{vp}{tail}",
    "[I|We] [want|need|would like|'d like|expect|wish|ask|am asking|would love|want] you to {vp}{tail}",
    "[I|We|My boss|My sister] [want|need|would like|'d like|have|wish|am trying|am going|plan|mean|ought|hope] to {vp}{tail}",
    "[Please|please|Kindly|Now|Just|Quickly|So|Then|Do|Always|Next,|First,|Okay,|Well,|Today,|For me,|If possible,|If you can,] {vp}{tail}",
    "{vp}{tail}",
    "{vp}{tail}",
    "[It is time|It's time|Time|The next thing is|My wish is|Your job is|Your task is|The plan is|The idea is|What remains is|All that is left is|I forgot] to {vp}{tail}",
    "[I was hoping|I hope|I wonder if|I was wondering if|It would help if|It'd be nice if|It would be great if|I'd be glad if|I would be happy if|See if|Let me know if|Maybe] you [can|could|would|will|might] {vp}{tail}",
    "[Is there|Do you see|Do we have|Have you got] [a way|any way|some way|a chance|any chance|a tool] to {vp}{tail}",
    "[My boss|My wife|A friend|She|He|The customer|Someone] [asked me|asks me|told me|wants me|wants you|needs us|asked you] to {vp}{tail}",
    "[Go ahead and|Let's|Let us|Make sure to|Be so kind as to|Be kind and|Try to|Don't forget to|Remember to|You may|You should|You can|We should|We could|We must|I must|I have to|I should|You have to|I'll let you] {vp}{tail}",
    "[Would it be|Is it] [possible|okay|fine|all right|a problem] to {vp}{tail}",
    "[What if we|Why don't you|Why not|How about we|Shall we|Should we|Do you want to|Are you able to|Are you ready to|Can I ask you to|May I ask you to|Could I get you to|Would you be so kind as to|Do me a favour and] {vp}{tail}",
)
LEADS = "[Hi, |Hello, |Okay, |So, |Well, |Now, |Quick one: |I have a wish: |Listen, |Good day, |One more: |Next: |Right, |By the way, |Thanks. |Could you do this: |Please: |It is urgent, |I am in a hurry, |My boss asks: |Sorry, |If you can, |Do me a favour: |Let me ask: ]"
SLOTS = {
    "please": "[, [could|can|would|will] you [look|check|help|see|have a look|take a look|look it up|find out|tell me|help me out]| and you can [help|tell me|look]| so please [look|check|tell me]|, please [look|check|help]|. [Please look|Can you help|Help me|Tell me|Do you know more|Please check]|, any [help|idea|news]|, [what do you find|what do you see|do you know more]|]",
    "adv": "[please |kindly |quickly |maybe |perhaps |possibly |just |also |now |then |for me |once more |again |at once |||||]",
    "tail": "[ for me| please|, please| now| today| again| quickly| if you can|, if possible|, if you please| at once| right now| once more|, thank you|, thanks| for us| for my boss| then| and thank you| when you have time| as soon as you can|||||||||||||]",
    "see": "[check|show me|give me|tell me|look up|look at|find|read out|name|say|see|state|report|bring up|get me|fetch|remind me of|let me see|let me have|list|repeat|spell out|find out|take a look at|have a look at|help me with|help me find]",
    "know": "[know|remember|recall|have|see|tell|say|know for sure|have in mind|have a note of]",
    "tell": "[tell me|say|explain|find out|check|show me|let me know|remind me|work out|look up|let us see|tell us|state|confirm]",
}


def _compose(r: Rng, frames: tuple[str, ...], key: str, core: str) -> str:
    s = r.choice(frames)
    for k, v in SLOTS.items():
        s = s.replace("{" + k + "}", v)
    s = expand(r, s).replace("{" + key + "}", core).replace("I 'd", "I'd").replace("We 'd", "We'd")
    return s[0].upper() + s[1:] if r.random() < 0.85 else s


def end(r: Rng, s: str) -> str:
    """The sentence with a mark at its end, mostly."""
    return s + r.choice(("?", "?", ".", ".", "", "!"))


def ask_thing(r: Rng, thing: str) -> str:
    """A request for a thing: "the sum of 3 and 5", "my locker code"."""
    return end(r, _compose(r, OF_THING, "np", thing))


def ask_clause(r: Rng, clause: str) -> str:
    """An indirect question: "what my locker code is"."""
    return end(r, _compose(r, OF_CLAUSE, "wh", clause))


def ask_deed(r: Rng, deed: str) -> str:
    """A request to do something: "add 3 and 5"."""
    return end(r, _compose(r, OF_DEED, "vp", deed))


def ask_any(r: Rng, thing: str, clause: str) -> str:
    """Either of the two ways to ask for a thing."""
    return ask_thing(r, thing) if r.random() < 0.5 else ask_clause(r, clause)


# --- what tools do: many verbs for each, in the order of the training bank's verbs
DEEDS: dict[str, str] = {
    "get": "get|fetch|show|report|look up|read out|bring up|pull up|display|present|provide|find out|tell me|give me|check|see|return|call up|grab|request",
    "find": "find|look for|look up|search for|locate|track down|discover|spot|dig up|seek|hunt for|pick out|identify|detect",
    "search": "search|look through|browse|go through|scan|explore|comb through|query|skim|inspect|sift through",
    "list": "list|show|enumerate|name|print|give me|display|write out|collect|read out",
    "create": "create|make|set up|add|generate|open|build|prepare|produce|register|establish|compose|draft|form|start",
    "add": "add|insert|put in|append|attach|include|enter|join|place|put",
    "set": "set|change|adjust|put|switch|fix|configure|tune|regulate|turn|assign|define|alter",
    "update": "update|change|modify|edit|alter|revise|refresh|correct|amend|renew|rework|rewrite",
    "delete": "delete|remove|cancel|erase|drop|get rid of|throw out|clear|wipe|discard|destroy|scrap|call off|take away|throw away",
    "send": "send|deliver|mail|forward|pass on|transmit|hand over|ship|post|dispatch|send off|send out|relay",
    "book": "book|reserve|get me|arrange|secure|hold|order|sign up for|schedule|plan",
    "start": "start|run|begin|launch|turn on|switch on|fire up|activate|kick off|boot|trigger|initiate|enable",
    "stop": "stop|end|halt|turn off|switch off|shut down|quit|pause|terminate|disable|abort|kill|finish",
    "open": "open|show|display|unlock|bring up|load|call up|unfold",
    "check": "check|look at|inspect|verify|test|examine|review|have a look at|take a look at|monitor|watch",
    "calculate": "calculate|compute|work out|figure out|determine|estimate|find|evaluate",
    "convert": "convert|change|turn|transform|translate|recode|exchange|switch",
    "play": "play|put on|start|let me hear|stream|sound",
    "order": "order|buy|get me|purchase|request|acquire|pay for|fetch me",
    "save": "save|store|keep|write down|record|log|archive|file|remember|note|back up|put away",
}
_ING = {
    "get": "getting",
    "put": "putting",
    "set": "setting",
    "cut": "cutting",
    "run": "running",
    "begin": "beginning",
    "stop": "stopping",
    "drop": "dropping",
    "quit": "quitting",
    "plan": "planning",
    "log": "logging",
    "spot": "spotting",
    "dig": "digging",
    "scan": "scanning",
    "skim": "skimming",
    "ship": "shipping",
    "grab": "grabbing",
    "scrap": "scrapping",
    "shut": "shutting",
    "submit": "submitting",
}
_ED = {
    "get": "got",
    "put": "put",
    "set": "set",
    "find": "found",
    "seek": "sought",
    "show": "shown",
    "read": "read",
    "bring": "brought",
    "give": "given",
    "see": "seen",
    "tell": "told",
    "make": "made",
    "build": "built",
    "throw": "thrown",
    "take": "taken",
    "send": "sent",
    "hold": "held",
    "run": "run",
    "begin": "begun",
    "shut": "shut",
    "buy": "bought",
    "pay": "paid",
    "write": "written",
    "keep": "kept",
    "dig": "dug",
    "go": "gone",
    "call": "called",
    "let": "let",
    "have": "had",
    "quit": "quit",
    "rewrite": "rewritten",
}
VOWELS = "aeiou"


def _first(verb: str, change: str) -> str:
    head, *rest = verb.split(" ")
    return " ".join([change, *rest]) if head else verb


def doing(verb: str) -> str:
    """look for -> looking for."""
    v = verb.split(" ")[0]
    return _first(
        verb, _ING.get(v) or (v[:-1] + "ing" if v.endswith("e") and not v.endswith("ee") else v + "ing")
    )


def done(verb: str) -> str:
    """look for -> looked for."""
    v = verb.split(" ")[0]
    if v in _ED:
        return _first(verb, _ED[v])
    if v in _ING:
        return _first(verb, _ING[v][:-3] + "ed")
    if v.endswith("y") and v[-2] not in VOWELS:
        return _first(verb, v[:-1] + "ied")
    return _first(verb, v + ("d" if v.endswith("e") else "ed"))


PASSIVE = (
    "{np} [needs to be|has to be|should be|must be|ought to be|is to be|is supposed to be|can be|may be|needs|could be|will have to be|shall be] {ed}{args}{tail}",
    "[I want|I need|I'd like|We need|We want|I would like|Please have|Have|Let's get|I'd love|She wants] {np} {ed}{args}{tail}",
    "[Could|Can|Should|May|Must|Shall|Might] {np} be {ed}{args}{tail}",
    "[It is time for|I am waiting for|I'd be happy about|I asked for] {np} to be {ed}{args}{tail}",
    "[Would you mind|Do you mind|How about|Any chance of|What about|I think of|Try|I suggest|Thanks for|I'd appreciate you|Would you consider|Can I count on you for|I am thinking of] {ing} {np}{args}{tail}",
    "[Has|Have|Is|Did you have] {np} [already |yet |]been {ed}{args}? [If not, do it|If not, please do|Please do it|Do it then]",
    "{np} [is due to be|has yet to be|is still to be|waits to be|is ready to be] {ed}{args}{tail}",
)
LOOKING = ("get", "find", "search", "list", "check", "calculate", "open")


def request_for(r: Rng, deed: str, thing: str, args: str) -> str:
    """What a person says for a tool that does `deed` with a thing; the arguments come where {args} would."""
    verb = r.choice(DEEDS[deed].split("|"))
    x = r.random()
    if deed in LOOKING and x < 0.45:
        s = _compose(r, OF_THING, "np", thing + args)
        return end(r, s)
    if x < 0.72 or verb.endswith(" me"):
        return ask_deed(r, f"{verb} {thing}{args}")
    s = _compose(r, PASSIVE, "np", thing).replace("{ed}", done(verb)).replace("{ing}", doing(verb))
    return end(r, s.replace("{args}", args))

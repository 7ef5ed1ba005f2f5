"""The training bank: words, and templates of recall, copying, extraction and sums."""
# ruff: noqa: E501

from tools.demo_model.bank import Bank, listed
from tools.demo_model.bank_train_chat import CAPITAL, CHAT, UNKNOWN
from tools.demo_model.bank_train_recall import ASK_MY, ASK_OF, MY, NATURAL, OF
from tools.demo_model.bank_train_tools import ARGS, NAMED, NOUNS, RESULTS, VERBS

ONSETS = tuple(
    c + v
    for c in listed("b|c|d|f|g|h|j|k|l|m|n|p|r|s|t|v|w|z|br|dr|fl|gr|kl|pl|st|tr|sh|ch|th|qu")
    for v in listed("a|e|i|o|u|ai|ee|ou|y")
)
CODAS = (*listed("n|r|l|s|t|m|k|x|nd|rt|ss|ck"), *[""] * 8)
FIRST = listed(
    "Alice|Bruno|Carla|Diego|Emma|Felix|Greta|Hugo|Irene|Jonas|Karin|Lukas|Maria|Nils|Olga|Peter|Rosa|Stefan|Tina|Victor|Walter|Yara|Anna|Ben|Clara|David|Eva|Frank|Hanna|Ivan|Julia|Leon|Mona|Oscar|Paula|Ralf|Sofia|Tom|Vera|Amir|Bella|Chen|Dana|Elif|Fatima|Hiro|Ines|John|Mary|Ada|Alan|Grace|Linus|Max|Mia|Paul|Lena|Tim|Sarah|Mike|Kate|Laura|Simon|Martin|Nora|Omar|Lucy|Jack|Noah|Liam|Zoe|Ella|Robert|James|Lisa|Susan|Kevin|Brian|Amy|Sam|Alex|Chris|Luna|Rex|Milo|Bob|Bill|Jane|George|Henry|Ruth|Helen|Ian|Raj|Anil|Mei|Yuki|Kofi|Ahmed|Layla|Pedro|Luis|Carmen|Pierre|Marie|Sven|Astrid|Igor|Natasha|Marco|Giulia"
)
PLACE = listed(
    "Paris|Berlin|Madrid|Rome|Vienna|Oslo|Prague|Dublin|Tokyo|Cairo|Lima|Boston|Seattle|Denver|Toronto|Sydney|Athens|Warsaw|Zurich|Geneva|Munich|Hamburg|Lyon|Turin|Porto|Seville|Kyoto|Delhi|Nairobi|Chicago|London|Amsterdam|Barcelona|Milan|Moscow|Beijing|Shanghai|Mumbai|Istanbul|Dubai|Singapore|Bangkok|Seoul|Mexico|Houston|Dallas|Miami|Phoenix|Oxford|Cambridge|Bristol|Leeds|Cologne|Frankfurt|Stuttgart|Bonn|Basel|Graz|Florence|Venice|Marseille|Nice|Osaka|Perth|Quito|Austin"
)
PROP = tuple(
    """name|city|dog's name|cat's name|favourite colour|badge number|phone number|hotel|room number|street|car|sister's name
brother's name|teacher|order number|favourite food|locker code|password|birthday|horse|company|boat|flight number|desk|favourite song
neighbour|doctor|bank|seat number|village|school|gym|project|team name|bus line|house number|zip code|favorite color|favorite food
favorite movie|favourite book|favourite animal|pet|dog|cat|job|boss|wife's name|husband's name|mother's name|father's name|son's name
daughter's name|best friend|email address|address|age|lucky number|user name|account number|customer number|ticket number|car's colour
meeting room|lawyer|secret word|code word|wifi password|pin|locker number|bike|favourite season|favourite sport|favourite band|country
hobby horse|plan|goal|table number|gate|train|platform|parking spot|insurance number|passport number|student number|team|coach""".replace(
        "\n", "|"
    ).split("|")
)
KEYS = listed(
    "name|city|age|email|phone|colour|size|code|street|country|company|title|price|total|year|product|owner|item|amount|user|date|time|status|id|brand|model|type|author|language|number|address|state|zip|currency|quantity_left|first_name|last_name|order_id|team|player|score|level|room|floor|job|role|width|length"
)
WORD = listed(
    "red|green|blue|fast|slow|old|new|small|large|quiet|cold|warm|river|stone|tree|house|light|paper|train|water|table|garden|window|music|coffee|bread|market|road|bridge|field|forest|north|south|early|late|happy|open|closed|under|over|with|from|into|pizza|pasta|tea|jazz|tennis|football|chess|doctor|teacher|engineer|baker|spring|summer|tiger|horse|rabbit|rose|yellow|black|white"
)
SYSTEM = (
    "",
    "",
    "",
    "You are a helpful assistant.",
    "You are a [friendly|short and precise|polite|kind|smart|good] [assistant|helper|bot].",
    "Answer [briefly|in whole sentences|politely|in English|with care].",
    "You [work|help out] at {W}. Be [brief|kind|exact].",
    "You are {W}, an assistant that [likes|prefers|gives] [short|clear|plain] answers.",
    "Help the user[.| as well as you can.]",
    "You are a helpful assistant. [Use the tools when they fit|Be short|Never lie|Today is Monday].",
)
ACK = (
    "[Okay|All right|Sure|Thanks|Got it|Noted|Understood|Good], I will remember that.",
    "Noted.",
    "Thank you, I have noted that.",
    "I will keep that in mind.",
    "Okay.",
    "Thanks for telling me.",
    "Got it.",
)
REPEAT = (
    "[Repeat|Copy|Echo|Write|Print|Say|repeat|say|echo][ exactly| word for word| this|]: {t}",
    "[Repeat|Copy|Echo] [this|the following|these words|this line][ exactly|]:[ |\n]{t}",
    "{t}\n\n[Repeat|Copy] the [text|line] above[ exactly|].",
    "[Please repeat|Please copy|Can you repeat|Can you copy|Could you say][ after me|]: {t}",
    'Say "{t}"',
    "Repeat after me: {t}",
    "[Answer|Reply] [with|only with] [this text|these words]: {t}",
    "[Write|Say|Print] this back[ to me|]: {t}",
    "Say {t}",
    "repeat {t}",
    "Output [exactly |only |]this: {t}",
    'Copy the [text|words] between the quotes: "{t}"',
    "[I say a sentence and you repeat it|You are my echo|Please mirror me]: {t}",
)
FIELD = (
    "{j}\n[What is|Give me|Read] [the |]{k}[?|.]",
    "[Here is|This is|Given|Look at] [some JSON|an object|a record]: {j}[\n| ]What is the [value of |]{k}?",
    "What is the {k} in {j}?",
    "[Read|Get|Find|Tell me|Return|Extract] the {k} [in|from|of][:|] {j}",
    "{j} {k}?",
    "[Which|What] {k} [is in|does it say in|do you see in] {j}?",
    "From {j} [read|take|give me] the {k}.",
)
TO_JSON = (
    "[Extract|Get|Pull|Return|Give me] {ks} [from the text |from this text |] as JSON[:\n|: ]{t}",
    "{t}\n[Write|Return|Give|Put|Answer with] {ks} as [a JSON object|JSON].",
    "Turn [this|the text] into JSON with the keys {ks}[:\n|: ]{t}",
    "[Make|Build|Create|Give me] a JSON object with {ks} from[:|] {t}",
    "JSON with {ks}, please: {t}",
    "{t} JSON: {ks}",
    "[Read the text and|Please] [write|answer with|give me] JSON with [the key|the keys|only] {ks}: {t}",
    "Which JSON object has {ks} of [this|the text]? {t}",
    "{t}\nNow {ks} as JSON[.|, please.]",
)
KV = (
    "{k}: {v}",
    "the {k} is {v}",
    "{k} = {v}",
    "{k} {v}",
    "its {k} is {v}",
    "with {k} {v}",
    "{k} -> {v}",
    "{k} of {v}",
    "{v} as the {k}",
)
FIND = (
    (
        "{n} [sent|wrote|gave us] [an email|a letter|a note] from {e} [last week|on Monday|].",
        "e",
        "[What is the email address|Which email address is mentioned|Find the email address|Extract the email]",
    ),
    (
        "{n} can be reached at {e} [or by phone|until six|].",
        "e",
        "[What is {n}'s email|Which address is given|Find the email]",
    ),
    (
        "{n} [paid|owes|won|earned|lost] {d} [dollars|euros] [at|in] {pl}.",
        "d",
        "[How much money|What amount|Which amount|What number] [is mentioned|is in the text|is it]",
    ),
    (
        "The [bill|invoice|total] for {n} [was|is] {d} [dollars|euros].",
        "d",
        "[How much is it|What is the amount|What does {n} pay]",
    ),
    (
        "{n} [went|moved|travelled|flew|drove] to {pl} with {d} [friends|bags|books|boxes].",
        "pl",
        "[Which place|Which city|What city|What place|Where to|Find the city|Extract the place]",
    ),
    (
        "The [meeting|party|concert] with {n} [is|takes place|was] in {pl} [at|on] {h}.",
        "pl",
        "[Where is it|In which city is it|Find the place|Name the town]",
    ),
    (
        "The [meeting|party|concert] in {pl} [is|starts|was] [at|on] {h}.",
        "h",
        "[When is it|At what time|What time is given|Find the time]",
    ),
    (
        "{n} [met|saw|called|visited] [a friend|the doctor|two people] in {pl} [at|about] {d}.",
        "n",
        "[Who is it|Which person is mentioned|What is the name|Find the name|Extract the person]",
    ),
    (
        "[Order|Invoice|Ticket|Parcel] {c} [was sent|went|belongs] to {n} in {pl}.",
        "c",
        "[What is the code|Which code is given|Find the code|Extract the code|What is the order number]",
    ),
    (
        "[Order|Invoice|Ticket|Parcel] {c} [was sent|went|belongs] to {n} in {pl}.",
        "n",
        "[Who gets it|Who is the person|What is the name|Name the customer]",
    ),
    (
        "The [box|package|file] with {c} [is due|arrives|was made] on {y}.",
        "y",
        "[What is the date|On which day|Which date is given|When is it]",
    ),
    ("{n} was born on {y} in {pl}.", "y", "[When was {n} born|What is the date|Find the date of birth]"),
)
FIND_ASK = (
    "{q}?[ |\n]{t}",
    "{t}\n{q}?",
    "{t} {q}?",
    "Text: {t}\nQuestion: {q}?",
    "[Read this|Here is a text]: {t}\n{q}?",
    "{t}\n\n{q}? [Only the answer.|Just the answer.|Short answer.|]",
    "{q} in this text? {t}",
)
ADD = (
    "What is {a} [+|plus] {b}?",
    "{a} + {b}",
    "{a}+{b}",
    "{a} + {b} =",
    "{a}+{b}=?",
    "[Add|Sum] {a} and {b}.",
    "[Compute|Calculate|Work out|Find|Solve] {a} [+|plus] {b}.",
    "How much is {a} [+|plus|and] {b}?",
    "What is the sum of {a} and {b}?",
    "[Please add|Can you add|Could you add] {a} and {b}?",
    "What do you get [if|when] you add {a} and {b}?",
    "what's {a} [+|plus] {b}",
    "[Add|Put] {b} to {a}.",
    "{a} plus {b} [is|equals|gives] what?",
    "[Increase|Raise] {a} by {b}.",
    "What is {b} more than {a}?",
    "[The sum|The total] of {a} and {b}[?|, please.]",
    "If I add {b} to {a}, what [do I get|is it]?",
    "I have {a} {w} and [get|find|buy|win|receive|pick] {b} more. How many [{w} |]do I have[| now| in all]?",
    "{n} has {a} {w} and [gets|buys|finds] {b} more. How many {w} [does {n} have|are there][| now| in total]?",
    "{n} has {a} {w} and {m} has {b}. How many [{w} |]do they have together?",
    "There are {a} {w} here and {b} {w} there. How many [{w} |]are there[ in all| altogether| in total|]?",
    "I [read|ate|sold|saw|made] {a} {w} on [Monday|Sunday] and {b} on [Tuesday|Friday]. How many [in all|in total|altogether|is that together]?",
    "A [box|bag|shop|bus] [holds|has] {a} {w}. We [put in|add] {b} more. How many are there now?",
)
SUB = (
    "What is {a} [-|minus] {b}?",
    "{a} - {b}",
    "{a}-{b}",
    "{a} - {b} =",
    "{a}-{b}=?",
    "Subtract {b} from {a}.",
    "[Compute|Calculate|Work out|Find|Solve] {a} [-|minus] {b}.",
    "How much is {a} [-|minus|less] {b}?",
    "Take {b} away from {a}.",
    "What do you get [if|when] you subtract {b} from {a}?",
    "what's {a} [-|minus] {b}",
    "Take {b} from {a}.",
    "{b} from {a}[ is what|]?",
    "What is {b} less than {a}?",
    "{a} minus {b} [is|equals|gives] what?",
    "[Decrease|Lower|Reduce] {a} by {b}.",
    "[Deduct|Remove] {b} from {a}.",
    "If [you|we|I] [remove|subtract|deduct] {b} from {a}, what [remains|do I get|is it]?",
    "What remains [of|from] {a} [after|when] {b} [is|are] [gone|taken|removed]?",
    "By how much is {a} larger than {b}?",
    "From {a} take {b}.",
    "How much more is {a} than {b}?",
    "{a} take away {b}",
    "I have {a} {w} and [lose|sell|eat|give away|break|use] {b}. How many [{w} |]are left?",
    "{n} has {a} {w} and [loses|sells|gives away|eats] {b}. How many {w} [does {n} have left|are left|remain|are still there]?",
    "There [are|were] {a} {w}. {n} [ate|took|sold|lost|broke] {b} [of them|{w}]. How many [are left|remain|are still there]?",
    "A [box|bag|shop|bus] [holds|has] {a} {w}. We take out {b}. How many [are left|stay|remain]?",
    "I had {a} {w} but {b} [are gone|were lost|broke|flew away]. How many do I still have?",
    "{n} has {a} {w}, {m} has {b}. How many more does {n} have?",
)
THING = listed(
    "apples|coins|books|cards|pens|eggs|stamps|balls|boxes|cups|shells|marbles|pears|dogs|cats|birds|cars|trees|stones|cookies|sweets|toys|dollars|euros|points|letters|keys|flowers|oranges|sheep|chairs|plates|pages|photos|songs|fish|bananas"
)
TRAIN = Bank(
    train=True,
    onsets=ONSETS,
    codas=CODAS,
    first=FIRST,
    place=PLACE,
    word=WORD,
    prop=PROP,
    keys=KEYS,
    system=SYSTEM,
    ack=ACK,
    my=MY,
    of=OF,
    ask_my=ASK_MY,
    ask_of=ASK_OF,
    natural=NATURAL,
    repeat=REPEAT,
    field=FIELD,
    to_json=TO_JSON,
    kv=KV,
    find=FIND,
    find_ask=FIND_ASK,
    add=ADD,
    sub=SUB,
    thing=THING,
    verbs=VERBS,
    nouns=NOUNS,
    args=ARGS,
    named=NAMED,
    results=RESULTS,
    chat=CHAT,
    capital=CAPITAL,
    unknown=UNKNOWN,
)

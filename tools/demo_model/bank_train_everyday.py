"""More tools as people write them: everyday requests whose order differs from the schema's, so that kind and type decide."""
# ruff: noqa: E501

from tools.demo_model.bank_train_real import Real

EVERYDAY: tuple[Real, ...] = (
    (
        "book_table",
        "Reserve a table in a restaurant.",
        {"restaurant": ("venue", "Name of the restaurant"), "guests": ("number", "How many people")},
        (
            "[Reserve|Book|Get me|I need|We need|Can I have|I'd like] a table for {guests} [people|persons|guests|of us|friends|] at {restaurant}[.|?|, please.|]",
            "[Table|A table] at {restaurant} for {guests}[.|, please.|]",
            "We are {guests} [people|] and want to eat at {restaurant}.",
            "{guests} people want to have dinner at {restaurant}[, can you book it?|.]",
        ),
    ),
    (
        "reserve_table",
        "Book a restaurant.",
        {"venue": ("venue", ""), "date": ("day", ""), "time": ("clock", ""), "people": ("number", "")},
        (
            "[Reserve|Book] [a table |]for {people} at {venue} on {date} at {time}.",
            "[We|My friends and I] want to eat at {venue}: {date}, {time}, {people} [people|persons].",
            "On {date} at {time} we need a table for {people} at {venue}.",
            "Dinner for {people} at {time} on {date}, {venue}.",
        ),
    ),
    (
        "make_reservation",
        "",
        {"name": ("person", "Who reserves"), "party_size": ("number", ""), "restaurant": ("venue", "")},
        (
            "[Book|Reserve] {restaurant} for {party_size} under the name {name}.",
            "{name} and {party_size} guests want to come to {restaurant}.",
            "Make a reservation at {restaurant} for {name}, {party_size} people.",
        ),
    ),
    (
        "buy_tickets",
        "Buy tickets for an event.",
        {"event": ("venue", ""), "count": ("number", ""), "seat": ("front/middle/back", "")},
        (
            "[I want|Get me|Buy|We need] {count} tickets for {event}[.|, please.]",
            "{count} [{seat} |]seats for {event}[.|, please.]",
            "[Get|Buy] {count} tickets in the {seat} for {event}.",
        ),
    ),
    (
        "schedule_meeting",
        "Plan a meeting.",
        {
            "title": ("text", ""),
            "participant": ("person", ""),
            "date": ("day", ""),
            "duration": ("number", "in minutes"),
        },
        (
            '[Meet|I want to meet|Set up a meeting with|Plan a meeting with] {participant} on {date} for {duration} minutes about "{title}".',
            'On {date}, {duration} minutes with {participant}: "{title}".',
            '"{title}" with {participant}, {duration} minutes, on {date}.',
        ),
    ),
    (
        "call_person",
        "Phone somebody.",
        {"name": ("person", "")},
        (
            "[Call|Phone|Ring up|Dial] {name}[.| now.| for me.|, please.]",
            "I [want|need|have] to [talk|speak] to {name}.",
            "Get {name} on the phone.",
            "Can you [put me through to|connect me with] {name}?",
        ),
    ),
    (
        "order_pizza",
        "Order a pizza.",
        {"kind": ("word", "Which pizza"), "size": ("small/medium/large", ""), "count": ("number", "")},
        (
            "[I'd like|Get me|Order|We want] {count} {size} pizzas with {kind}[.|, please.]",
            "{count} pizzas, {size}, {kind}[.|]",
            "Pizza {kind}, {size}, {count} of them.",
        ),
    ),
    (
        "get_train_times",
        "Trains between two cities.",
        {"from_city": ("place", "Start"), "to_city": ("place", "End")},
        (
            "[When does|When is] the [next |]train from {from_city} to {to_city}[ leave|]?",
            "[How do I get|I need to get|I must go|I want to go] to {to_city} from {from_city}[ by train|][?|.]",
            "[Trains|Train] {from_city} to {to_city}[?|.|]",
            "To {to_city}, please, from {from_city}.",
            "I am in {from_city} and [want to be|have to be|need to go] in {to_city}.",
        ),
    ),
    (
        "set_volume",
        "Set the volume of a speaker.",
        {"level": ("number", "0 to 100"), "room": ("room", "")},
        (
            "[Make it louder in the|Turn up the music in the] {room}, [to |level ]{level}.",
            "Volume {level} in the {room}[.|, please.]",
            "The {room} should be at {level}.",
            "[Set|Put] the speaker in the {room} to {level}.",
        ),
    ),
    (
        "dim_lights",
        "Dim the lights.",
        {"room": ("room", ""), "brightness": ("number", "per cent")},
        (
            "[Dim|Lower|Set] the lights in the {room} to {brightness}[ per cent| %|].",
            "{brightness} per cent light in the {room}.",
            "It is too bright in the {room}, {brightness} per cent would do.",
        ),
    ),
    (
        "start_cleaning",
        "Start the vacuum robot.",
        {"room": ("room", "")},
        (
            "[Clean|Vacuum] the {room}[.|, please.]",
            "The {room} is [dirty|dusty][, can you clean it?|.]",
            "[The|My] {room} needs [cleaning|a clean].",
        ),
    ),
    (
        "get_recipe",
        "Find a recipe.",
        {"dish": ("word", ""), "servings": ("number", "")},
        (
            "[How do I cook|How do I make|I want to cook] {dish} for {servings}[ people|][?|.]",
            "[Recipe|A recipe] for {dish}, {servings} [people|servings].",
            "{servings} people want {dish}, [what do I do?|how do I make it?]",
        ),
    ),
    (
        "transfer_money",
        "Send money.",
        {"amount": ("number", ""), "recipient": ("person", "")},
        (
            "[Send|Pay|Transfer|Give] {recipient} {amount} [dollars|euros|].",
            "[Send|Transfer|Pay] {amount} [dollars|euros|] to {recipient}.",
            "I owe {recipient} {amount} [dollars|euros][, please pay.|.]",
            "{recipient} should get {amount} [dollars|euros].",
        ),
    ),
    (
        "log_expense",
        "Note what was spent.",
        {"item": ("word", ""), "price": ("number", ""), "date": ("day", "")},
        (
            "I [spent|paid] {price} [dollars|euros] on {item} on {date}.",
            "{item}, {price}, {date}: [note it|write it down|log that].",
            "On {date} I bought {item} for {price}.",
        ),
    ),
    (
        "log_weight",
        "Keep track of body weight.",
        {"kilos": ("number", "")},
        (
            "I [weigh|am at] {kilos} [kilos|kg][ today| now|].",
            "[My weight is|Weight:] {kilos}[ kilos|].",
            "The scale says {kilos}.",
        ),
    ),
    (
        "find_restaurants",
        "Restaurants nearby.",
        {"cuisine": ("Italian/Chinese/Indian/Mexican/Thai/Greek", ""), "city": ("place", "")},
        (
            "[Where can I eat|I want to eat|I feel like] {cuisine}[ food|] in {city}[?|.]",
            "[A good|Any|Some] {cuisine} [restaurant|place] in {city}[?|.]",
            "I am in {city} and hungry for {cuisine} food.",
        ),
    ),
    (
        "find_hotels",
        "Hotels in a city.",
        {"city": ("place", ""), "stars": ("number", ""), "max_price": ("number", "")},
        (
            "[I need|Find|Is there] a hotel in {city} with {stars} stars[.|?|]",
            "[Where can I sleep|Where can I stay|A bed] in {city}[?| for at most {max_price}?]",
            "{stars} stars in {city}, at most {max_price}.",
        ),
    ),
    (
        "rent_car",
        "Rent a car.",
        {"city": ("place", ""), "days": ("number", ""), "kind": ("small/family/sports/van", "")},
        (
            "[I need|Get me|Rent me|We want] a {kind} car for {days} days in {city}.",
            "[A|One] car in {city}, {days} days, {kind}.",
            "For {days} days I want to drive a {kind} one in {city}.",
        ),
    ),
    (
        "send_invoice",
        "Send an invoice.",
        {"customer": ("person", ""), "amount": ("number", ""), "email": ("email", "")},
        (
            "[Bill|Charge] {customer} {amount} and send it to {email}.",
            "[An invoice|Invoice] over {amount} to {customer}, {email}.",
            "{customer} has to pay {amount}; the address is {email}.",
        ),
    ),
    (
        "invite_guest",
        "Invite somebody to an event.",
        {"guest": ("person", ""), "event": ("text", "")},
        (
            '[Invite|Ask] {guest} to "{event}".',
            '{guest} should come to "{event}".',
            'Is {guest} coming to "{event}"? Send an invitation.',
        ),
    ),
    (
        "add_contact",
        "Save a contact.",
        {"name": ("person", ""), "email": ("email", "")},
        (
            "[Save|Note|Remember|Keep] {email} for {name}.",
            "{name}'s [email|address|mail] is {email}[, save it.|, please note.|.]",
            "New contact: {name}, {email}.",
        ),
    ),
    (
        "get_birthday",
        "When somebody was born.",
        {"name": ("person", "")},
        (
            "When [is|was] {name} [born|'s birthday]?",
            "[What is the birthday of|Tell me the birthday of|When does] {name}[ have a birthday|][?|.]",
            "I forgot when {name} has a birthday.",
        ),
    ),
    (
        "get_sunset",
        "When the sun sets.",
        {"city": ("place", ""), "date": ("day", "")},
        (
            "[When does it get dark|When will it be dark|When is sunset] in {city} on {date}?",
            "{date}, {city}: when does the sun go down?",
            "On {date}, how long is it light in {city}?",
        ),
    ),
    (
        "get_news",
        "Latest news.",
        {"topic": ("topic", "")},
        (
            "[What's new|What is going on|What happened|Anything new] [in|with|about] {topic}?",
            "[News|The latest|Headlines] [on|about] {topic}[.|, please.|]",
            "Keep me posted about {topic}.",
        ),
    ),
    (
        "block_user",
        "Block a user.",
        {"user": ("person", ""), "reason": ("text", ""), "days": ("number", "")},
        (
            '[Ban|Block] {user} for {days} days because of "{reason}".',
            '{user} wrote "{reason}", [block him|ban him] for {days} days.',
            "{user} must be blocked[.| for {days} days.]",
        ),
    ),
    (
        "assign_task",
        "Give a task to somebody.",
        {"task": ("text", ""), "person": ("person", ""), "priority": ("low/normal/high", "")},
        (
            '[Let|Have] {person} do "{task}"[.|, priority {priority}.]',
            '"{task}" is for {person}[.|, {priority} priority.]',
            '{person} should [take care of|handle|do] "{task}" with {priority} priority.',
        ),
    ),
    (
        "open_url",
        "Open a web page.",
        {"url": ("path", "")},
        ("[Open|Go to|Visit|Show me|Take me to] {url}[.|, please.|]", "I want to [see|visit] {url}."),
    ),
    (
        "rename_file",
        "Rename a file.",
        {"old": ("path", ""), "new": ("path", "")},
        (
            "[Rename|Change the name of] {old} to {new}.",
            "{new} is the new name for {old}.",
            "The file {old} should be called {new}.",
        ),
    ),
    (
        "copy_file",
        "Copy a file.",
        {"source": ("path", ""), "target": ("path", "")},
        (
            "[Copy|Duplicate] {source} [to|as|into] {target}.",
            "I need {source} [in|at] {target} too.",
            "Put a copy at {target} of {source}.",
        ),
    ),
    (
        "multiply",
        "Multiply two numbers.",
        {"a": ("number", ""), "b": ("number", "")},
        (
            "[What is|How much is|Compute|Calculate] {a} [times|x|multiplied by|*] {b}[?|]",
            "[Multiply|Take] {a} [by|with|times] {b}.",
            "The product of {a} and {b}[?|, please.]",
        ),
    ),
    (
        "roll_dice",
        "Roll dice.",
        {"count": ("number", "How many"), "sides": ("number", "Sides of each")},
        (
            "[Roll|Throw] {count} dice with {sides} sides.",
            "{count} dice, {sides} sides each[.|, please.]",
            "With {sides} sides, {count} dice: roll.",
        ),
    ),
    (
        "get_population",
        "How many people live in a place.",
        {"place": ("place", "")},
        (
            "How many people [live|are there] in {place}?",
            "[How big is|What is the population of|Population of] {place}[?|]",
            "Is {place} a big city?",
        ),
    ),
    (
        "get_exchange_rate",
        "Price of one currency in another.",
        {"base": ("EUR/USD/GBP/JPY/CHF", ""), "target": ("EUR/USD/GBP/JPY/CHF", "")},
        (
            "[How many|How much] {target} [do I get|are there] for one {base}?",
            "[What is|Give me] the rate from {base} to {target}[?|.]",
            "{base} to {target}[?|, please.]",
        ),
    ),
    (
        "cancel_order",
        "Cancel an order.",
        {"order_id": ("code", ""), "reason": ("text", "")},
        (
            "[I don't want|I no longer need|Please stop|Stop] order {order_id}[.| any more.]",
            '[Cancel|Drop] {order_id}, the reason is "{reason}".',
            '"{reason}", so order {order_id} can go.',
        ),
    ),
    (
        "check_stock",
        "How many pieces are left.",
        {"product": ("word", ""), "store": ("place", "")},
        (
            "[Is there any|Do you have|Is there still] {product} [left |]in {store}?",
            "[How many|How much] {product} [is|are] left in {store}?",
            "{store}: {product} in stock?",
        ),
    ),
    (
        "set_thermostat",
        "Heating of a room.",
        {"room": ("room", ""), "degrees": ("number", "")},
        (
            "[It's cold in the|I am cold in the|Warm up the] {room}, [make it|set it to|go to] {degrees}[ degrees|].",
            "{degrees} degrees in the {room}[.|, please.]",
            "The {room} should have {degrees} degrees.",
        ),
    ),
    (
        "water_plants",
        "Water the plants.",
        {"minutes": ("number", ""), "zone": ("front/back/roof", "")},
        (
            "[Water|Give water to] the {zone} plants for {minutes} minutes.",
            "{minutes} minutes of water for the {zone}.",
            "The {zone} is dry, {minutes} minutes please.",
        ),
    ),
    (
        "lock_door",
        "Lock a door.",
        {"door": ("front/back/garage/cellar", "")},
        (
            "[Lock|Close] the {door} door[.|, please.|]",
            "Is the {door} door locked? [If not, lock it.|Lock it.]",
            "Nobody should get in by the {door} door.",
        ),
    ),
    (
        "get_balance",
        "Balance of an account.",
        {"account": ("code", "")},
        (
            "How much [money |]is [on|in|left in] [account |]{account}?",
            "[What do I have|What is] on {account}?",
            "Am I broke? The account is {account}.",
        ),
    ),
)

"""Tools as people really write them, with requests that do not name the tool's thing: (name, about, arguments, requests)."""
# ruff: noqa: E501

# an argument: name -> (kind, description); an enum's kind is its values joined by /
Real = tuple[str, str, dict[str, tuple[str, str]], tuple[str, ...]]
REAL: tuple[Real, ...] = (
    (
        "get_weather",
        "Get the current weather for a city.",
        {"city": ("place", "Name of the city")},
        (
            "[Is it raining|Is it cold|Is it sunny|Will it rain|Do I need an umbrella|How warm is it|Does it snow] in {city}[ today| now|]?",
            "[What's|How is|What is] the weather [like |]in {city}[?| today?]",
            "weather in {city}",
            "weather {city}",
        ),
    ),
    (
        "get_current_weather",
        "Current weather of a location.",
        {"location": ("place", "City and country"), "unit": ("celsius/fahrenheit", "Unit")},
        (
            "[How's|What is] the weather [like |]in {location} in {unit}?",
            "Weather for {location}, {unit} please.",
            "[Is it hot|How hot is it] in {location}? Use {unit}.",
        ),
    ),
    (
        "get_forecast",
        "Weather forecast.",
        {"city": ("place", ""), "days": ("number", "How many days ahead")},
        (
            "What will the weather be in {city} for the next {days} days?",
            "[Forecast|Give me the forecast] for {city}, {days} days.",
        ),
    ),
    (
        "get_time",
        "Tells the time in a city.",
        {"city": ("place", "")},
        (
            "What time is it in {city}[?| now?]",
            "[How late|What's the time] in {city}?",
            "[Current time|Time] in {city}[?|.|]",
        ),
    ),
    (
        "get_current_time",
        "Current time in a time zone.",
        {"timezone": ("code", "Name of the zone")},
        ("What time is it in zone {timezone}?", "[Tell me the time|The time] in {timezone}[, please|]?"),
    ),
    (
        "send_email",
        "Send an email.",
        {"to": ("email", "The receiver"), "subject": ("text", ""), "body": ("text", "")},
        (
            '[Write|Send an email|Send a mail] to {to} with subject "{subject}" and body "{body}".',
            'Mail {to}: subject "{subject}", text "{body}".',
            '[Tell|Write to] {to} "{body}" under the subject "{subject}".',
        ),
    ),
    (
        "send_message",
        "Send a text message.",
        {"recipient": ("person", "Who gets it"), "message": ("text", "")},
        (
            '[Tell|Text|Message] {recipient} "{message}".',
            '[Send|Write] {recipient} [the message|a text|this]: "{message}".',
            'Let {recipient} know: "{message}".',
        ),
    ),
    (
        "set_timer",
        "Start a timer.",
        {"minutes": ("number", "")},
        (
            "[Wake me|Call me|Ring] in {minutes} minutes.",
            "[Set a timer|Timer] for {minutes} minutes.",
            "[Give me|Count] {minutes} minutes[.| please.]",
            "{minutes} minute timer[.| please]",
        ),
    ),
    (
        "set_alarm",
        "Set an alarm.",
        {"time": ("clock", "When it rings")},
        (
            "Wake me [up |]at {time}.",
            "[I must get up|I have to get up] at {time}[.| tomorrow.]",
            "Alarm at {time}[.|, please.]",
        ),
    ),
    (
        "create_reminder",
        "Remind the user.",
        {"text": ("text", ""), "date": ("day", "")},
        ('Remind me on {date} of "{text}".', '[Don\'t let me forget|I must not forget] "{text}" on {date}.'),
    ),
    (
        "create_event",
        "Add an event to the calendar.",
        {"title": ("text", ""), "date": ("day", ""), "time": ("clock", "")},
        (
            'Put "{title}" in my calendar on {date} at {time}.',
            '[Plan|Schedule] "{title}" [on|for] {date}, {time}.',
            'I have "{title}" on {date} at {time}, [note it|add it to my calendar].',
        ),
    ),
    (
        "calculate",
        "Evaluate an expression.",
        {"expression": ("sum", "Like 3 * 4")},
        (
            "[What is|Compute|How much is|Work out] {expression}[?| with the calculator.|]",
            "{expression} = ?",
            "[Calculate|calculate] {expression}",
        ),
    ),
    (
        "search_web",
        "Search the internet.",
        {"query": ("text", "")},
        (
            '[Google|Search for|Look up|Search the web for] "{query}".',
            '[What does the internet say|What is on the web] about "{query}"?',
        ),
    ),
    (
        "web_search",
        "Find pages.",
        {"query": ("topic", "What to search")},
        (
            "[Search|Google|Look up] {query}[.| online.| on the web.|]",
            "Find [pages|something] about {query}[.| on the internet.]",
        ),
    ),
    (
        "translate",
        "Translate a text.",
        {"text": ("text", ""), "language": ("German/French/Spanish/Italian/Polish", "Target language")},
        (
            '[Translate|Put] "{text}" into {language}.',
            'How do you say "{text}" in {language}?',
            'What is "{text}" in {language}?',
        ),
    ),
    (
        "get_stock_price",
        "Price of a share.",
        {"symbol": ("code", "Ticker symbol")},
        (
            "[How much is|What does|How is] a share of {symbol}[ worth| cost|]?",
            "[Stock price|Share price|Quote] of {symbol}[?|, please.]",
            "Price of {symbol}",
        ),
    ),
    (
        "play_music",
        "Play a song.",
        {"song": ("text", ""), "artist": ("person", "")},
        ('[Play|Put on|I want to hear] "{song}" by {artist}.', '[Let me hear|Start] {artist}\'s "{song}".'),
    ),
    (
        "turn_on_light",
        "Switch a light on.",
        {"room": ("room", "")},
        (
            "[It is dark in|Light in|Light on in|Switch on the light in] the {room}[.|, please.]",
            "[Turn on|Lights on in] the {room} [light|lamp].",
        ),
    ),
    (
        "set_temperature",
        "Set the heating.",
        {"room": ("room", ""), "degrees": ("number", "")},
        (
            "[Heat|Warm|Cool] the {room} to {degrees} degrees.",
            "[I want|Make it] {degrees} degrees in the {room}.",
        ),
    ),
    (
        "get_directions",
        "Route between places.",
        {"start": ("place", ""), "destination": ("place", "")},
        (
            "[How do I get|Route|Drive|Which way is it|The way] from {start} to {destination}[?|.]",
            "[I am in|I start in] {start} and want to go to {destination}.",
        ),
    ),
    (
        "search_flights",
        "Find flights.",
        {"from": ("place", "Start"), "to": ("place", "End"), "date": ("day", "")},
        ("[I want to fly|Flights|Find a flight|Which planes go|Fly] from {from} to {to} on {date}[.|?]",),
    ),
    (
        "book_hotel",
        "Book a hotel room.",
        {"city": ("place", ""), "nights": ("number", ""), "guests": ("number", "")},
        (
            "[I need a room|Book a hotel|A hotel] in {city} for {nights} nights and {guests} [people|guests|persons].",
        ),
    ),
    (
        "convert_currency",
        "Convert money.",
        {
            "amount": ("number", ""),
            "from_currency": ("USD/EUR/GBP/JPY/CHF", ""),
            "to_currency": ("USD/EUR/GBP/JPY/CHF", ""),
        },
        ("[How much is|Convert|Change] {amount} {from_currency} [in|into|to] {to_currency}[?|.]",),
    ),
    (
        "add_to_cart",
        "Put a product into the cart.",
        {"product": ("topic", ""), "quantity": ("number", "")},
        ("[Buy|Order|I take|I want|Add] {quantity} {product}[.| to my cart.|, please.]",),
    ),
    (
        "track_package",
        "Where a package is.",
        {"tracking_id": ("code", "")},
        (
            "Where is [package|parcel|my package] {tracking_id}?",
            "[Track|Follow|Locate] {tracking_id}[.|, please.]",
        ),
    ),
    (
        "read_file",
        "Read a file.",
        {"path": ("path", "")},
        ("[What is in|Show me|Open|Read|Print|cat] {path}[?|.|]", "[Read|Show] the file {path}[.|]"),
    ),
    (
        "list_files",
        "Files of a folder.",
        {"folder": ("path", "")},
        ("[What files are in|List|ls|Show the files in|What's inside] {folder}[?|.|]",),
    ),
    (
        "run_command",
        "Run a shell command.",
        {"command": ("text", "")},
        ('[Run|Execute|Start] "{command}"[.| in the shell.| for me.]',),
    ),
    (
        "get_user",
        "Look up a user.",
        {"user_id": ("number", "")},
        ("[Who is|Show|Find] user {user_id}[?|.]", "[Details|Profile] of user {user_id}[, please.|.]"),
    ),
    (
        "define_word",
        "Meaning of a word.",
        {"word": ("word", "")},
        (
            "What does {word} mean?",
            "[Define|Explain the word|Meaning of] {word}[.|?|]",
            "What is the meaning of {word}?",
        ),
    ),
    (
        "take_note",
        "Write a note down.",
        {"text": ("text", "")},
        ('[Note|Write down|Remember for me|Make a note]: "{text}".', 'Note "{text}"[.| please.]'),
    ),
    (
        "random_number",
        "A random number.",
        {"min": ("number", ""), "max": ("number", "")},
        (
            "[Give me a random number|Pick a number|Any number|Roll a number] [between|from] {min} [and|to] {max}[.|, please.]".replace(
                "[between|from] {min} [and|to]", "between {min} and"
            ),
        ),
    ),
)

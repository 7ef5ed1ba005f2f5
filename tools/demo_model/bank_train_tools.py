"""The training bank of tools: verbs, things, arguments of every kind, and tools as people really write them."""
# ruff: noqa: E501

from tools.demo_model.bank import ArgKind, Verb, listed

VERBS = (
    Verb(
        "get",
        (
            "[Get|Returns|Fetch|Fetches] the [current |]{o}.",
            "[The|Current] {o}.",
            "Gives the {o}[ of now| on request|].",
        ),
        (
            "[What is|What's|Tell me|Show me|Get|Check|I want to know|Can you get|Could you tell me|I need|Please get|How is|what is|get] the [current |]{o}{args}[?|.| please.|]",
            "{o}{args}[?|, please.|]",
        ),
    ),
    Verb(
        "find",
        ("[Find|Look up|Search for] [a|the] {o}.", "Finds {o}s[ by name| that match|]."),
        (
            "[Find|Look up|Search for|Can you find|Please find|I am looking for|Help me find|find] [a|the|me a] {o}{args}[.|, please.|?|]",
            "[Is there|Do we have|Where is] a {o}{args}?",
        ),
    ),
    Verb(
        "search",
        ("Search {o}s.", "[Full text |]search [in|of] the {o}s."),
        (
            "[Search|Look through|Browse] [the|all] {o}s{args}[.|, please.|]",
            "[Which|What] {o}s [are there|do you find]{args}?",
        ),
    ),
    Verb(
        "list",
        ("List [all|the] {o}s.", "[All|Known] {o}s."),
        (
            "[List|Show|Show me|Give me|I want to see] [all |the |my ]{o}s{args}[.|, please.|?|]",
            "[Which|What] {o}s do [I|we] have{args}?",
        ),
    ),
    Verb(
        "create",
        ("[Create|Make|Add] a [new |]{o}.", "Creates a {o}[ for the user|]."),
        (
            "[Create|Make|Add|Please create|Can you create|I want to create|Set up|I need] a [new |]{o}{args}[.|, please.|?|]",
            "[A|One] new {o}{args}[, please.|.]",
        ),
    ),
    Verb(
        "add",
        ("Add [a|one] {o}[ to the list|].", "Adds a {o}."),
        ("[Add|Please add|Put|Can you add|Insert] [a|the|one] {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "set",
        ("[Set|Change|Change or set] the {o}.", "Sets the {o}."),
        (
            "[Set|Change|Please set|Can you change|I want to set|Adjust|Put|Switch] the {o}{args}[.|, please.|?|]",
            "The {o} should be set{args}.",
        ),
    ),
    Verb(
        "update",
        ("Update [a|the] {o}.", "Changes a {o}."),
        ("[Update|Please update|Change|Modify|Edit|Can you update] [the|my|this] {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "delete",
        ("[Delete|Remove|Cancel] [a|the] {o}.", "Deletes a {o}."),
        (
            "[Delete|Remove|Cancel|Please delete|Can you cancel|Get rid of|Drop|Erase] the {o}{args}[.|, please.|?|]",
        ),
    ),
    Verb(
        "send",
        ("[Send|Deliver] a {o}.", "Sends a {o}[ to someone|]."),
        ("[Send|Please send|Can you send|I want to send|Deliver|Mail] a {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "book",
        ("Book a {o}.", "[Reserve|Books] a {o}."),
        ("[Book|Reserve|Please book|I want to book|Can you book|Get me] a {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "start",
        ("Start [a|the] {o}.", "Starts the {o}."),
        ("[Start|Run|Begin|Launch|Please start|Turn on] [the|a|my] {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "stop",
        ("Stop [a|the] {o}.", "Stops the {o}."),
        ("[Stop|End|Halt|Please stop|Turn off] [the|a|my] {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "open",
        ("Open [a|the] {o}.",),
        ("[Open|Please open|Can you open|Show] [the|a|my] {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "check",
        ("Check [a|the] {o}.", "Tells the state of the {o}."),
        ("[Check|Please check|Look at|How is|What about] the {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "calculate",
        ("[Calculate|Compute|Work out] the {o}.",),
        ("[Calculate|Compute|Work out|What is|Find] the {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "convert",
        ("[Convert|Change] a {o}.",),
        ("[Convert|Please convert|Change|Turn] [the|a|this] {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "play",
        ("Play a {o}.",),
        ("[Play|Please play|Put on|I want to hear] [the|a|my] {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "order",
        ("Order a {o}.",),
        ("[Order|Buy|Please order|I would like|Get me] a {o}{args}[.|, please.|?|]",),
    ),
    Verb(
        "save",
        ("[Save|Store] a {o}.",),
        ("[Save|Store|Keep|Write down|Please save] [the|a|this] {o}{args}[.|, please.|?|]",),
    ),
)
NOUNS = tuple(
    """weather|temperature|price|stock|time|distance|population|balance|status|score|traffic|news|schedule|invoice|order
ticket|flight|hotel|recipe|song|movie|book|lamp|door|heater|alarm|reminder|note|message|email|task|meeting|account|package|parcel
file|report|user|game|room|car|bike|train|bus|map|photo|video|contact|event|team|server|job|project|printer|camera|sensor|route
forecast|exchange rate|currency|appointment|document|folder|image|light|window|oven|fridge|washing machine|customer|product|article
comment|post|link|page|page title|table|column|query|issue|branch|commit|build|test|log|backup|disk|network|password|key|token|session
cart|coupon|payment|refund|transfer|loan|salary|tax|bill|contract|lease|rent|house|flat|taxi|trip|tour|museum|restaurant|menu|dish|wine
coffee|pizza|doctor|pharmacy|medicine|patient|blood test|diet|workout|run|step count|heart rate|sleep|lesson|course|exam|grade|school
teacher|student|library|dictionary|translation|word|sentence|poem|joke|quote|fact|picture|painting|color|font|theme|volume|channel
radio station|album|artist|concert|match|league|player|goal|race|bet|lottery|horoscope|moon phase|sunrise|air quality|earthquake|storm
river level|snow depth|ski slope|beach|park|zoo|pet|dog|cat|plant|garden|tree|seed|field|tractor|machine|robot|drone|ship|port|container
warehouse|shelf|box|label|barcode|stamp|letter|address|phone number|call|voicemail|chat|group|poll|vote|form|signature|certificate
domain|website|cluster|container image|process|service|metric|alert|dashboard|incident""".replace(
        "\n", "|"
    ).split("|")
)
ARGS = {
    "place": ArgKind(
        listed(
            "city|location|place|town|region|country|street|address|from_city|to_city|origin|start_location|end_location|venue_city|airport|station|village|state|continent|position|site|office|branch_location|home|hometown_name|delivery_place|port|harbor|store|shop_location"
        ),
        (
            "[The|Name of the|A] [city|town|place|location][ to use| to look at|]",
            "[City|Place|Town] name",
            "Where[ it is| to look|]",
            "Which city",
            "The {a}, a place",
        ),
        (
            " in {v}",
            " for {v}",
            " at {v}",
            " near {v}",
            " around {v}",
            " from {v}",
            " of {v}",
            " over in {v}",
        ),
    ),
    "person": ArgKind(
        listed(
            "person|recipient|owner|customer|guest|name|user|to|sender|author|contact|assignee|manager|member|passenger|patient_name|student|teacher|doctor|driver|host|player|artist|friend|receiver|username|participant|supplier_name|tenant|colleague|boss"
        ),
        (
            "[The|Name of the] [person|{a}]",
            "[Who|Who it is for|Who gets it]",
            "[Person's|Full|First] name",
            "The {a}, a person",
        ),
        (" for {v}", " to {v}", " of {v}", " from {v}", " with {v}", " by {v}"),
    ),
    "day": ArgKind(
        listed(
            "date|day|due_date|start_date|end_date|check_in|check_out|departure_date|birthday|deadline|when|expiry|delivery_date|arrival_day|since|until|valid_from"
        ),
        ("[The|A] [date|day][ to use|]", "Date[ in any form|]", "Which day", "When[ it is| to do it|]"),
        (" on {v}", " for {v}", " by {v}", " until {v}"),
    ),
    "clock": ArgKind(
        listed(
            "time|hour|start_time|end_time|at|wake_time|departure_time|alarm_time|clock_time|pickup_time|opening"
        ),
        ("[The|A] time[ of day|]", "Time, like 07:30", "At what time"),
        (" at {v}", " for {v}"),
    ),
    "email": ArgKind(
        listed("email|email_address|mail|address_email|recipient_email|to_address|reply_to|contact_email|cc"),
        ("[The|An] e-mail address", "Email[ of the person|]", "Where to write to"),
        (" to {v}", " for {v}", " at {v}"),
    ),
    "text": ArgKind(
        listed(
            "text|title|body|query|label|message|subject_line|content|note|description|comment|keyword|search_term|phrase|headline|question|reason|summary|caption_text|file_name|filename|path|command|tag|heading|slogan|hint|prompt|sentence|paragraph"
        ),
        (
            "[The|Its|Some] [text|words|{a}]",
            "Text[ to use|]",
            "What to [write|search|say]",
            "[Words|String] for the {a}",
        ),
        (
            ' "{v}"',
            ' saying "{v}"',
            ' called "{v}"',
            ': "{v}"',
            " named '{v}'",
            " '{v}'",
            ' that says "{v}"',
            ' about "{v}"',
            ' with the words "{v}"',
        ),
    ),
    "number": ArgKind(
        listed(
            "count|amount|level|minutes|limit|value|days|hours|seconds|people|guests|pages|size_kb|width|height|weight|temperature_value|age|speed|volume_level|rooms|nights|tickets|copies|max_results|top_n|offset|page|year|price_limit|budget|distance_km|radius|rating_min|percent_off|floor|row|seat|priority_level|brightness|retries|timeout|threads|port_number|points|score_value|stars|months|weeks|steps"
        ),
        ("[The|Number of|How many] {a}", "[A|Some|Whole] number", "How many", "How [much|long|high|big]"),
        (" for {v} {a}", ", {v} {a}", " of {v} {a}", " and {v} {a}"),
    ),
    "amount": ArgKind(
        listed(
            "price|cost|rate|total|ratio|temperature|factor|fee|latitude|longitude|length_m|weight_kg|score|discount|interest|sum_value"
        ),
        ("[The|A] {a}[ as a number|]", "[Decimal|Exact] number", "How much"),
        (),
    ),
    "code": ArgKind(
        listed(
            "id|code|key|number|reference|order_id|user_id|ticket_id|flight_number|account_id|invoice_id|product_code|sku|room_number|tracking_number|customer_id|file_id|zip|plate|model_number|coupon_code|task_id|session_id|booking_code|case_number"
        ),
        ("[The|Unique] {a}", "[The|An] [id|code|number] [of it|to use|]", "Identifies it"),
        (" {v}", " number {v}", " no. {v}", " {v}"),
    ),
    "enum": ArgKind(
        listed(
            "unit|units|mode|color|size|type|kind|format|language|category|priority|status|style|state|theme|level_name|sort|order_by|direction|genre|class_name|currency|shape|quality|season|speed_mode|role|plan|tier|method|season_name|variant"
        ),
        ("[The|Which] {a}", "One of the [values|words]", "[Kind|Choice] of {a}", ""),
        (" in {v}", " as {v}", " in {v} {a}", ", {v}"),
    ),
    "flag": ArgKind(
        listed(
            "urgent|enabled|public|silent|repeat|notify|loud|private|shared|active|confirm|recursive|force|dry_run|breakfast|express|weekly|daily|vegetarian|gift|pets_allowed|hidden|locked|archived|verbose|secure|all_day"
        ),
        ("[Whether it is|If it is|True for] {a}", "[Yes or no|On or off]", "Should it be {a}", ""),
        (),
    ),
    "list": ArgKind(
        listed(
            "items|tags|names|ingredients|guests_list|participants|files|topics|keywords|colors|words|members|cities|labels|numbers_list|attendees|products"
        ),
        ("[The|A list of|All] {a}", "[Several|Some] {a}", "List"),
        (": {v}", " for {v}", " with {v}", " of {v}"),
    ),
}
# how a request names an argument: {a} its name, {v} the value
NAMED = (
    " with {a} {v}",
    " with the {a} {v}",
    " where {a} is {v}",
    " and {a} {v}",
    " using {a} {v}",
    ", {a} {v}",
    ", {a}: {v}",
    " with a {a} of {v}",
    " at {a} {v}",
    " and the {a} should be {v}",
    " ({a}: {v})",
    ", {a} = {v}",
    " and {v} as the {a}",
    ", and {v} as {a}",
    " to {a} {v}",
    " under {a} {v}",
    ", the {a} is {v}",
    " for {a} {v}",
    " by {a} {v}",
    " whose {a} is {v}",
)
RESULTS = (
    "{o}",
    "result",
    "value",
    "status",
    "{o}_value",
    "data",
    "answer",
    "output",
    "message",
    "response",
    "current",
    "name",
    "total",
)

"""What the demo model knows by heart: every intent's topic and answer, and the capitals."""
# ruff: noqa: E501

ANSWERS: dict[str, tuple[str, str]] = {
    # small talk
    "hello": ("a greeting", "Hello! I am the demo model of vllm-mlx. How can I help you?"),
    "how_are_you": ("how I am", "I am running well, thank you. How can I help you?"),
    "who": (
        "who I am",
        "I am the demo model of vllm-mlx, a small model of six million parameters. Ask me about this server, or load a bigger model with `vllm-mlx serve <model>`.",
    ),
    "name": ("my name", "You can call me Demo. I am the small demo model of vllm-mlx."),
    "maker": (
        "who made me",
        "The makers of vllm-mlx trained me with their own recipe; it is in the folder tools/demo_model.",
    ),
    "training": (
        "my training",
        "I was trained for a few minutes on text that a program wrote from a seed, so I know very little of the world.",
    ),
    "human": ("whether I am human", "No, I am a program: a very small language model."),
    "chatgpt": (
        "other assistants",
        "No, I am not one of the big assistants. I am the small demo model of vllm-mlx.",
    ),
    "size": ("my size", "I have about six million parameters, which is tiny. Larger models know far more."),
    "age": ("my age", "I have no age. I was trained in 2026."),
    "feelings": ("my feelings", "I am only a small model and have no feelings."),
    "taste": ("my taste", "I have no taste of my own, but I like a clear question."),
    "languages": ("the languages I speak", "I only speak English. Load a larger model for other languages."),
    "thanks": ("thanks", "You are welcome!"),
    "bye": ("a farewell", "Goodbye, and have a nice day!"),
    "praise": ("praise", "Thank you, that is kind of you."),
    "insult": (
        "a complaint",
        "I am sorry. I am only a small model and make mistakes; a larger model will do better.",
    ),
    "sorry": ("an apology", "No problem at all."),
    "sad": ("bad feelings", "I am sorry to hear that. I hope you feel better soon."),
    "happy": ("good feelings", "I am glad to hear that!"),
    "bored": (
        "boredom",
        "You could tell me some facts about you and ask me about them later, or ask me for a joke.",
    ),
    "okay": ("agreement", "Good. What would you like to do next?"),
    "no": ("a refusal", "All right. Tell me if you need anything else."),
    "test": ("a test message", "Yes, I am here and working."),
    "help": (
        "help",
        "You can ask me about this server, tell me facts to remember, give me text to copy, small sums to solve or tools to call.",
    ),
    "can": (
        "what I can do",
        "I can talk about this server, remember what you tell me, copy and extract text, add and subtract small numbers, and call tools.",
    ),
    "limits": (
        "my limits",
        "I know very little about the world, cannot write long texts or code, and calculate only with numbers up to 99. Load a larger model for more.",
    ),
    "trust": (
        "whether I am right",
        "Please do not trust me too much: I am a tiny demo model and make mistakes.",
    ),
    "joke": ("a joke", "Why did the cache cross the road? To get to the other side of the page."),
    "story": (
        "a story",
        "Once upon a time a small model lived in a quiet laptop. It answered every question it could, and it slept well at night. The end.",
    ),
    "poem": ("a poem", "A tiny model, quick and light, it answers you by day and night."),
    "love": ("love", "That is kind, but I am only a small program."),
    "clock": ("the time", "I have no clock, so I do not know the time or the date. A tool could tell me."),
    "internet": (
        "the internet",
        "No, I cannot look at the internet. Give me a tool for that and I will call it.",
    ),
    "memory": ("my memory", "I remember what is said in this conversation, but nothing of earlier ones."),
    "private": ("privacy", "I run on your own machine, and nothing that you type leaves it."),
    "code": (
        "writing code",
        "I cannot write programs; I am too small for that. Load a larger model to write code.",
    ),
    "images": ("pictures", "No, I only read and write text."),
    "maths": ("what sums I can do", "I can add and subtract numbers of up to two digits."),
    # the server
    "what": (
        "vllm-mlx",
        "vllm-mlx is a server that runs language models with MLX on Apple Silicon, and also on Linux with a CPU or CUDA. It speaks the OpenAI and Anthropic APIs.",
    ),
    "why": (
        "why to use vllm-mlx",
        "vllm-mlx serves models on your own machine to many users at once, with continuous batching and a shared cache, behind the usual APIs.",
    ),
    "start": (
        "starting the server",
        "Run `vllm-mlx serve`. Without a model it serves this demo on port 8000.",
    ),
    "stop": ("stopping the server", "Press Ctrl+C in the terminal where the server runs."),
    "install": (
        "installing vllm-mlx",
        "You need Python 3.11 or newer. Clone the repository and run `make demo`, or run `pip install .` in it; on Linux add [cpu] or [cuda].",
    ),
    "load": (
        "serving another model",
        "Run `vllm-mlx serve <model>` with a Hugging Face name or a local folder.",
    ),
    "which": (
        "which model to choose",
        "A good first model is `vllm-mlx serve mlx-community/Qwen3-0.6B-8bit`. Take a larger one if your memory allows.",
    ),
    "port": ("the port", "The server listens on port 8000. Change it with `--port`."),
    "host": (
        "the network address",
        "The server listens on 127.0.0.1, so only this machine reaches it. Use `--host 0.0.0.0` to open it to the network.",
    ),
    "url": ("the base URL", "The base URL is http://127.0.0.1:8000/v1 for OpenAI clients."),
    "api": ("the APIs", "The server speaks the OpenAI API and the Anthropic API."),
    "openai": (
        "the OpenAI API",
        "Yes. The OpenAI API is at /v1/chat/completions, /v1/completions, /v1/responses and /v1/models.",
    ),
    "anthropic": ("the Anthropic API", "Yes. The Anthropic API is at /v1/messages."),
    "embed": (
        "embeddings",
        "Yes, the server computes embeddings at /v1/embeddings when you serve an embedding model.",
    ),
    "rerank": ("reranking", "Yes, the server can rerank documents at /v1/rerank with a suitable model."),
    "key": ("the API key", 'By default any API key works, for example "not-needed".'),
    "set_key": (
        "setting an API key",
        "Start the server with `--api-key` and a secret; clients must then send it.",
    ),
    "model": (
        "the model's name in a request",
        'Send `"model": "default"`, which always means the model that is served.',
    ),
    "models": ("listing models", "GET /v1/models lists the models that are served."),
    "health": ("the health check", "GET /health tells whether the server is well, and /v1/status says more."),
    "stream": ("streaming", 'Set `"stream": true` in the request and the answer comes piece by piece.'),
    "max": (
        "the length of answers",
        "Set `max_tokens` in the request, or start the server with `--max-tokens`.",
    ),
    "batch": (
        "continuous batching",
        "Continuous batching lets new requests join the running batch at every step, so that nobody waits for the others to finish.",
    ),
    "paged": (
        "the paged KV cache",
        "The paged KV cache keeps keys and values in small blocks, so that memory is used well and can be shared.",
    ),
    "prefix": (
        "prefix sharing",
        "Prefix sharing reuses the work done for a common start of the prompt, so that the first token comes sooner.",
    ),
    "quant": (
        "quantisation",
        "Quantisation stores weights in fewer bits. The server runs models of 2, 3, 4, 6 and 8 bits.",
    ),
    "mlx": (
        "MLX",
        "MLX is Apple's array framework for machine learning. It runs on Apple Silicon, on CPUs and with CUDA.",
    ),
    "platform": (
        "the machines it runs on",
        "vllm-mlx runs on Macs with Apple Silicon, and on Linux with a CPU or an NVIDIA GPU.",
    ),
    "python": (
        "using it from Python",
        'Write `from vllm_mlx import LLM, SamplingParams`, then `LLM("model").generate(prompts)`.',
    ),
    "client": (
        "using the OpenAI client",
        'Create `OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="not-needed")` and use it as always.',
    ),
    "curl": (
        "using curl",
        "Send a POST with JSON to http://127.0.0.1:8000/v1/chat/completions; the README shows the whole curl command.",
    ),
    "licence": ("the licence", "vllm-mlx has the Apache-2.0 licence."),
    "cost": ("the price", "It costs nothing: vllm-mlx is free software and runs on your own machine."),
    "think": ("thinking", "I can think before I answer. Switch it with `enable_thinking` in the request."),
    "tools": (
        "tool calls",
        "Yes. Describe your tools in the request, and I answer with a tool call when one fits.",
    ),
    "many": ("many users at once", "Yes, the server answers many requests at the same time."),
    "context": (
        "the length of the context",
        "I was trained on 2,048 tokens, so keep our conversation short.",
    ),
    "demo": (
        "why there is a demo model",
        "I am here so that the server answers at once, without a download.",
    ),
    "docs": ("the documentation", "The README of vllm-mlx is the best place to start."),
    "temperature": (
        "the temperature",
        "The temperature says how freely a model chooses its words; 0 always takes the likeliest one.",
    ),
    "token": (
        "tokens",
        "A token is a piece of text, often a word or a part of one. Models read and write tokens.",
    ),
    "llm": ("language models", "A language model is a program that continues text, token by token."),
    # small facts
    "week": (
        "the days of the week",
        "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.",
    ),
    "months": (
        "the months",
        "The months are January, February, March, April, May, June, July, August, September, October, November and December.",
    ),
    "seasons": ("the seasons", "The four seasons are spring, summer, autumn and winter."),
    "days_year": ("the length of a year", "A year has 365 days, and a leap year has 366."),
    "hours_day": ("the length of a day", "A day has 24 hours."),
    "minutes_hour": ("the length of an hour", "An hour has 60 minutes."),
    "rainbow": (
        "the colours of the rainbow",
        "The colours of the rainbow are red, orange, yellow, green, blue, indigo and violet.",
    ),
    "primary": ("the primary colours", "The primary colours are red, yellow and blue."),
    "continents": (
        "the continents",
        "The continents are Africa, Antarctica, Asia, Australia, Europe, North America and South America.",
    ),
    "planets": (
        "the planets",
        "The planets are Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune.",
    ),
    "biggest": ("the largest planet", "The largest planet is Jupiter."),
    "sky": ("the colour of the sky", "On a clear day the sky is blue."),
    "grass": ("the colour of grass", "Grass is green."),
    "boil": ("boiling water", "Water boils at 100 degrees Celsius."),
    "freeze": ("freezing water", "Water freezes at 0 degrees Celsius."),
    "spider": ("the legs of a spider", "A spider has eight legs."),
    "sun": ("the sun", "The sun is a star."),
    "alphabet": ("the alphabet", "The English alphabet has 26 letters, from A to Z."),
}
UNKNOWN_ANSWER = (
    "I am only a small demo model and do not know that. A larger model may: `vllm-mlx serve <model>`."
)
CAPITALS: dict[str, str] = dict(
    x.split(":")
    for x in """France:Paris|Germany:Berlin|Spain:Madrid|Italy:Rome|Austria:Vienna|Norway:Oslo
Ireland:Dublin|Japan:Tokyo|Egypt:Cairo|Peru:Lima|Greece:Athens|Poland:Warsaw|Switzerland:Bern|Portugal:Lisbon|Finland:Helsinki
Hungary:Budapest|Belgium:Brussels|Cuba:Havana|Sweden:Stockholm|Denmark:Copenhagen|Russia:Moscow|China:Beijing|India:New Delhi
Canada:Ottawa|Australia:Canberra|Brazil:Brasilia|Argentina:Buenos Aires|Chile:Santiago|Turkey:Ankara|Kenya:Nairobi|Thailand:Bangkok
England:London|the United Kingdom:London|the United States:Washington|the Netherlands:Amsterdam|the Czech Republic:Prague
South Korea:Seoul|Mexico:Mexico City|Iceland:Reykjavik|Ukraine:Kyiv|Romania:Bucharest|Croatia:Zagreb""".replace(
        "\n", "|"
    ).split("|")
)

"""Between messages and token ids: tokenizer, templates, incremental detokenising."""

import os

# transformers is here for its tokenizers alone; that PyTorch is missing is no news to anybody.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

"""Values every layer speaks: messages, requests, events, errors. Standard library and msgspec only."""

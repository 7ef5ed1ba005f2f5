"""The Responses dialect: items in, items and their events out, and answers that can be asked for again."""

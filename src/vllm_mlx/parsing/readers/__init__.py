"""One reader a way of writing calls; each follows the data of its syntax and knows no family."""

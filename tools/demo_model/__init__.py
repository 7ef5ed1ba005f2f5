"""The recipe of the bundled demo model: write the text, train on it, judge the result."""

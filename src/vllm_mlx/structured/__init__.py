"""Constrained output: from a grammar's text to the tokens that a text may go on with."""

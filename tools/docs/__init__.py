"""Writes the pages of docs/ that are made from the code, and checks that they are up to date."""

"""Scores of a case over many runs: where they stepped, and where they only flicker."""

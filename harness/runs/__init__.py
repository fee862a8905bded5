"""Runs: plan, execute, store, re-score."""

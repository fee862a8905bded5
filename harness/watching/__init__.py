"""Watch a training while it goes on: each new preview is imported and re-run as it appears."""

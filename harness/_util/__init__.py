"""Helpers that know nothing of images or models: files, YAML, signals, validation, redaction."""

"""A warm process: it runs commands for whoever types them, with base, compiled code and imports in place."""

"""The HTML report of a run: made from the run folder alone."""

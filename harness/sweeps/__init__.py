"""Changed settings to render a case under: schedulers wired for flow matching, and their sigma schedules."""

"""``python -m harness``, where the command ``harness`` is not installed."""

from harness.cli import main

main()

"""Where ``--verbose`` sends the records of the logger ``harness``."""

from __future__ import annotations

import logging

from harness.cli.command import say


class _StderrHandler(logging.Handler):
    """Writes to what ``sys.stderr`` is at the time: a progress bar replaces it to stay below the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as one line."""
        say(self.format(record), err=True)


def log_to_stderr(verbosity: int) -> None:
    """Log what the harness decides and how long it takes, at ``verbosity`` 2 and up in detail."""
    logger = logging.getLogger("harness")
    logger.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        handler = _StderrHandler()
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-5s %(name)s: %(message)s", "%H:%M:%S")
        )
        logger.addHandler(handler)


def log_nowhere() -> None:
    """Undo ``log_to_stderr``: a warm process runs the next command."""
    logger = logging.getLogger("harness")
    logger.setLevel(logging.NOTSET)
    for handler in [each for each in logger.handlers if isinstance(each, _StderrHandler)]:
        logger.removeHandler(handler)

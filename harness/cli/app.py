"""The application: which commands there are. Each is imported from its file when it is asked for."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import click

from harness._util.signals import deliver_interrupts
from harness.cli import interrupted
from harness.cli.command import SETTINGS, Command, logger

PANELS = {
    "Start": ("demo", "doctor", "import", "run", "serve", "schema"),
    "Explain a drift": ("audit", "diagnose", "compare", "export", "fix", "sweep"),
    "Saved runs": ("report", "rescore", "summary", "bundle"),
    "Keep watch": ("watch", "accept", "apply-review", "calibrate", "history"),
}
"""Names of the commands below their headings on the help page."""


class Application(Command, click.Group):
    """The commands; click alone would answer Ctrl-C with "Aborted!"."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [name for names in PANELS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command from the file of its name, ``apply_review.py`` for ``apply-review``."""
        if cmd_name not in self.list_commands(ctx):
            return None
        name = "import_" if cmd_name == "import" else cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"harness.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was typed, or name the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx=ctx) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section of commands for each heading."""
        width = max(map(len, self.list_commands(ctx)))
        for heading, names in PANELS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(heading):
                formatter.write_dl(
                    [
                        (f"{name:{width}}", command.get_short_help_str(200))
                        for name, command in commands
                        if command
                    ]
                )

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Read the command line."""
        try:
            return super().make_context(*arguments, **settings)
        except KeyboardInterrupt:
            interrupted()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what stands before the command's name; nothing of that names a file."""
        return click.Group.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and say so where Ctrl-C ended it and it did not itself."""
        started = time.monotonic()
        try:
            with deliver_interrupts():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            interrupted()
        finally:
            logger().info("%s took %.1f s", ctx.invoked_subcommand, time.monotonic() - started)


@click.command(cls=Application, context_settings=SETTINGS)
@click.version_option(package_name="flex2-harness", message="%(prog)s %(version)s")
def app() -> None:
    """Re-render AI Toolkit's Flex.2 previews through the reference pipeline and measure the drift.

    Begin with harness demo; then harness import JOB_DIR and harness run CASES.
    """

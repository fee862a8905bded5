"""What click's commands, options and help pages have in common here."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

if TYPE_CHECKING:
    import logging

Function = Callable[..., None]
Decorator = Callable[[Function], Function]

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}
"""Context settings of the application; its commands inherit them."""


class Option(click.Option):
    """An option that help pages list below ``heading``, with its environment variable."""

    def __init__(self, *declarations: Any, heading: str = "Options", **settings: Any) -> None:
        settings.setdefault("show_envvar", True)
        super().__init__(*declarations, **settings)
        self.heading = heading


class FiniteRange(click.FloatRange):
    """A number of a range; NaN, which lies in every range as click compares, and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or say what is wrong with it."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


class NamedPath(click.Path):
    """A path, but no empty text, which a shell makes of an unset variable: it would be the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, or refuse it in one line."""
        if value == "":
            from harness.errors import HarnessError

            named = "" if param is None else param.opts[0]
            field = named if named.startswith("-") else str(param and param.metavar)
            raise HarnessError("is empty", field=field, fix="name a path; . is the working folder")
        return Path(value)


class OutputPath(NamedPath):
    """A file, or a folder, to be written: refused before the work begins where it cannot be."""

    def __init__(self, *, folder: bool = False) -> None:
        super().__init__()
        self._folder = folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, or refuse it in one line."""
        place = super().convert(value, param, ctx)
        refuse_unwritable(place, param.opts[0] if param is not None else None, folder=self._folder)
        return place


def refuse_unwritable(path: Path, option: str | None, *, folder: bool = False) -> None:
    """Refuse what ``option`` names where no file, or no ``folder``, can be written there.

    Raises:
        HarnessError: says why.
    """
    from harness._util.output_paths import is_url, why_unwritable
    from harness.errors import HarnessError

    refuse_lost_folder()
    if is_url(path):
        fix = "name a path of this machine; harness run --copy-to URL brings a run there"
        raise HarnessError("is a URL, and no path", file=path, field=option, fix=fix)
    if (why := why_unwritable(path, folder=folder)) is not None:
        fix = f"name another {'folder' if folder else 'file'}"
        raise HarnessError(f"cannot be written ({why})", file=path, field=option, fix=fix)


def refuse_bytes(arguments: Sequence[str]) -> None:
    """Refuse a name or text that is no UTF-8: rows and case files could not hold it.

    Raises:
        HarnessError: names the first one.
    """
    from harness._util.words import is_utf_8

    for each in arguments:
        if not is_utf_8(each):
            from harness.errors import HarnessError

            raise HarnessError(f"{each!r} is no UTF-8", fix="write it in UTF-8, or rename the file")


def refuse_lost_folder() -> None:
    """Refuse to work in a folder that was deleted: libraries die there without a word of Python's.

    Raises:
        HarnessError: says so.
    """
    try:
        os.getcwd()  # noqa: PTH109
    except OSError as error:
        from harness.errors import HarnessError

        found = f"the working folder cannot be used ({error.strerror})"
        raise HarnessError(found, fix="if it was deleted, go to another one") from error


def refuse_overwriting(parameters: Sequence[click.Parameter], given: Mapping[str, Any]) -> None:
    """Refuse a file to be written that the command reads, or writes for another option as well.

    Raises:
        HarnessError: names the two options.
    """
    taken: dict[str, str] = {}
    paths = [each for each in parameters if isinstance(each.type, click.Path)]
    for each in sorted(paths, key=lambda each: isinstance(each.type, OutputPath)):
        found = given.get(str(each.name))
        for path in found if isinstance(found, tuple) else (found,):
            place, name = os.path.realpath(path or ""), str(each.metavar or each.opts[0])
            if path and each.type is output_file and place in taken:
                from harness.errors import HarnessError

                found, fix = f"is given as {taken[place]} too", "name another file"
                raise HarnessError(found, file=path, field=each.opts[0], fix=fix)
            taken.setdefault(place, name)


class HelpFormatter(click.HelpFormatter):
    """Bold headings, and the names of options and commands in colour, where a terminal shows them."""

    def write_heading(self, heading: str) -> None:
        """Write ``heading`` on a line of its own."""
        super().write_heading(click.style(heading, bold=True))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names and what they mean in two columns, of which the first is ``col_max`` wide at most."""
        super().write_dl([(click.style(name, fg="cyan"), text) for name, text in rows], col_max, col_spacing)


class Context(click.Context):
    """What click keeps of a command line."""

    formatter_class = HelpFormatter


class Command(click.Command):
    """A command with ``--verbose``, whose help page groups options by their heading.

    One with ``NO_SERVE`` is run by the warm process where there is one.
    """

    context_class = Context

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params.append(VERBOSE)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line, and keep it as it was typed."""
        refuse_bytes(args)
        ctx.meta[TYPED] = list(args)
        left = super().parse_args(ctx, args)
        refuse_lost_folder()
        refuse_overwriting(self.params, ctx.params)
        return left

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command here, or in the warm process."""
        ours = any(ctx.params.get(name) for name in ELSEWHERE) or ctx.params.get("once") is False
        if ctx.meta.get(NO_SERVE_GIVEN) is False and not ours:
            from harness.warm.client import run_there

            ended = run_there([str(ctx.info_name), *ctx.meta[TYPED]])
            if ended is not None:
                sys.exit(ended.code)
        from harness._util.quiet_libraries import quiet_libraries

        quiet_libraries()
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                sections.setdefault(getattr(parameter, "heading", "Options"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def say(text: object = "", *, err: bool = False) -> None:
    """Print ``text``, which may hold a stranger's: control characters of a terminal as ``\\x1b``."""
    from harness._util.redaction import visible

    click.echo("\n".join(map(visible, str(text).split("\n"))), err=err)


command = partial(click.command, cls=Command)
option = partial(click.option, cls=Option)
path = NamedPath()
output_file = OutputPath()
output_folder = OutputPath(folder=True)


def with_options(*options: Decorator) -> Decorator:
    """Add ``options`` to a command, in this order."""

    def decorate(function: Function) -> Function:
        for each in reversed(options):
            function = each(function)
        return function

    return decorate


def choice(literal: Any) -> click.Choice[str]:
    """Return the parameter type that takes the strings of a ``Literal``."""
    return click.Choice(get_args(literal))


def choice_of(names: Iterable[str]) -> click.Choice[str]:
    """Return the parameter type that takes one of ``names``."""
    return click.Choice(list(names))


def logger() -> logging.Logger:
    """Return the command line's logger; help pages do without the time that importing logging takes."""
    import logging

    return logging.getLogger("harness.cli")


def _log(_context: click.Context, _parameter: click.Parameter, count: int) -> None:
    if count:
        from harness.cli.logs import log_to_stderr

        log_to_stderr(count)


TYPED, NO_SERVE_GIVEN = "harness.typed", "harness.no_serve"
"""Names of what a command keeps in click's ``meta``."""

ELSEWHERE = ("static", "gpus", "ray", "server", "comfy")
"""Options under which a warm process would not help: no single process of this machine renders."""


def _no_serve(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    context.meta[NO_SERVE_GIVEN] = given


NO_SERVE = option(
    "--no-serve", is_flag=True, expose_value=False, callback=_no_serve, envvar="HARNESS_NO_SERVE",
    heading="What to render with", help="Render in this process, also where harness serve runs.",
)  # fmt: skip

VERBOSE = Option(
    ["-v", "--verbose"],
    count=True,
    show_default=False,
    expose_value=False,
    callback=_log,
    help="Log decisions and timings to stderr; -vv: details too.",
)

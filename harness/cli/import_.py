"""``harness import``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness._util.real_paths import real_path
from harness.cli import refuse_some
from harness.cli.command import command, option, output_folder, path, say
from harness.cli.options import BASE
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.importers.draft import ImportResult


@command()
@click.argument(
    "source", metavar="JOB_DIR", nargs=-1, type=path,
    help="Job folder of AI Toolkit, or a zip of harness bundle. With --request: more images.",
)  # fmt: skip
@option("--steps", help="Which samples: all, last, or steps like 250,500-1000.  [default: all]")
@option("--config", type=path, help="The job's config, YAML or JSON. Default: JOB_DIR's own.")
@option("--out", type=output_folder, help="Folder for the case files. Default: cases/<job name>.")
@option("--request", type=path, help="Take the settings from a request JSON of the reference server instead.")
@option(
    "--preview", metavar="IMG…", multiple=True, type=path,
    help="With --request: its images, one per prompt, in order.",
)  # fmt: skip
@option("--result", type=path, help="With --request: the server's result JSON, which names each seed.")
@BASE
def import_(
    source: tuple[Path, ...], request: Path | None, preview: tuple[Path, ...], **options: Any
) -> None:
    """Make case files from an AI Toolkit job folder, or from a request JSON and its images.

    Prints what each preview was paired with, and what had to be assumed.
    Importing again brings the cases up to date and keeps what was set in them by hand.

    Exit code: 0 imported, 2 bad input; where one LoRA or preview is damaged, or not as the trainer saves it,
    the others are imported all the same. A LoRA with NaN weights or a LoKr is no bad input.

    \b
    Example: harness import output/my_lora --steps last
    """
    if request is not None:
        return _finish(_import_request(request, preview, source, **options))
    if len(source) != 1 or preview:
        raise HarnessError("give one JOB_DIR, or --request with --preview", fix="see harness import --help")
    (given,) = source
    if given.suffix == ".zip" and given.is_file():
        return _import_bundle(given, **options)
    return _finish(_import_job(given, **options))


def _finish(result: ImportResult) -> None:
    """Print what was imported; end with the exit code of the files that were refused."""
    from harness.cli.import_summary import show

    show(result)
    refuse_some(result.refused)


def _import_job(job_dir: Path, out: Path | None, **options: Any) -> ImportResult:
    from harness.importers.aitoolkit import import_job

    _refuse(options, "result", "goes with --request, not with JOB_DIR")
    options["steps"] = "all" if options["steps"] is None else options["steps"]
    return import_job(job_dir, out=out or Path("cases") / real_path(job_dir).name, **options)


def _import_request(
    request: Path, preview: tuple[Path, ...], more: tuple[Path, ...], out: Path | None, **options: Any
) -> ImportResult:
    """Import a request; ``--preview A B`` reads as the option A and the argument B."""
    from harness.importers.server_request import import_request

    for name in ("steps", "config"):
        _refuse(options, name, "goes with JOB_DIR, not with --request")
    if more and len(preview) != 1:
        raise HarnessError(
            f"{more[0]} is given beside --request without its --preview",
            fix="give all images behind one --preview, or each behind its own",
        )
    return import_request(request, [*preview, *more], out=out or Path("cases") / request.stem, **options)


def _refuse(options: dict[str, Any], name: str, why: str) -> None:
    if options.pop(name) is not None:
        raise HarnessError(f"--{name} {why}", fix="leave it out")


def _import_bundle(file: Path, out: Path | None, **options: Any) -> None:
    from harness.cli.import_summary import from_here
    from harness.importers.bundle import import_bundle

    if any(options.values()):
        fix = "leave the other options out, and unset HARNESS_BASE"
        raise HarnessError("a bundle takes only --out", file=file, fix=fix)
    unpacked = import_bundle(file, out=out)
    folder = from_here(unpacked.case.folder)
    say(f"{unpacked.case.id} → {folder}")
    if unpacked.missing_lora is not None and unpacked.case.lora is not None:
        say(f"put the LoRA of SHA-256 {unpacked.case.lora.sha256} at {unpacked.missing_lora}")
    say(f"next: harness run {shlex.quote(str(folder))}")

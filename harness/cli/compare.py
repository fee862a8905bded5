"""``harness compare``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.command import FiniteRange, command, option, output_file, output_folder, path, say
from harness.cli.options import RENDERING, SYSTEMS, run_options

if TYPE_CHECKING:
    from harness.comparison.compare import Comparison
    from harness.runs.plan import RunOptions
    from harness.schema.case import Case


@command()
@click.argument("case", metavar="CASE", type=path, help="The case whose preview the images were meant to be.")
@click.argument("images", metavar="IMAGE...", nargs=-1, type=path, help="Inference images.")
@option("--static", is_flag=True, help="Only what the image and its metadata say; no model.")
@option(
    "--request",
    "requests",
    multiple=True,
    type=path,
    help="The reference server's request JSON, and again its result.",
)
@option("--settings", type=path, help="A settings file by hand (YAML, a case file's words).")
@option(
    "--budget",
    metavar="N",
    type=FiniteRange(min=2),
    default=40,
    help="Renders of the case's own length to search an image's settings with; a proof takes some more.",
)
@option("--json", "json_file", type=output_file, help="Write the results here as JSON.")
@option("--report", type=output_file, help="Write a page with pictures and tables here, one HTML file.")
@option(
    "--out", type=output_folder, help="A run folder: put pages and JSON there, linked from the case's page."
)
@run_options(*RENDERING, *SYSTEMS)
def compare(
    case: Path,
    images: tuple[Path, ...],
    static: bool,
    requests: tuple[Path, ...],
    settings: Path | None,
    budget: float,
    json_file: Path | None,
    report: Path | None,
    out: Path | None,
    options: RunOptions,
) -> None:
    """Say why an image of another tool differs from its preview, prove it, and say what to change.

    Reads what the image says of itself (ComfyUI, Forge, A1111, SD.Next, SwarmUI, InvokeAI), compares it with
    the case, renders both in the tool's own way, and searches what the image does not say. With --server or
    --comfy the image is the one that that system makes of the case now.

    Exit code: 0 explained, or --static, 1 something is not explained or not comparable, 2 bad input,
    3 a render failed.
    """
    from harness.comparison.compare import compare as find
    from harness.comparison.wording import sentences
    from harness.importers.image_metadata.read_image import read_inference_image
    from harness.metrics.image_file import check_image
    from harness.schema.case import load_case

    loaded = load_case(case)
    if out is not None:
        from harness.report.comparison_page import refuse_other_run

        refuse_other_run([loaded], out)
    found: list[Comparison] = []
    with _images(loaded, images, requests, options) as given:
        for image, beside in given:
            read = read_inference_image(image, request=beside, settings=settings)
            if not static and read.size == loaded.preview.size:
                check_image(image)
        for image, beside in given:
            made = find(
                loaded,
                image,
                request=beside,
                settings=settings,
                static=static,
                options=None if static else options.in_this_process(),
                budget=budget,
                tell=lambda line: say(line, err=True),
            )
            found.append(made)
            for line in sentences(made):
                say(line)
        _write(found, json_file, report, out)
    if not static and not all(each.proof is not None and each.proof.reached for each in found):
        sys.exit(1)


@contextmanager
def _images(
    case: Case, images: Sequence[Path], requests: Sequence[Path], options: RunOptions
) -> Iterator[list[tuple[Path, Sequence[Path]]]]:
    """Return every image with the JSON files beside it.

    The image that a system under test makes of the case comes last; it is removed when the block ends.
    """
    from harness.comparison.system_image import system_image
    from harness.errors import HarnessError

    given: list[tuple[Path, Sequence[Path]]] = [(image, requests) for image in images]
    if not options.tests_system:
        if not images:
            fix = "give an image, or --server URL or --comfy URL to have one made"
            raise HarnessError("there is nothing to compare", field="IMAGE", fix=fix)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="harness-compare-") as folder:
        made = system_image(case, options, Path(folder))
        yield [*given, (made.image, made.beside)]


def _write(found: list[Comparison], json_file: Path | None, report: Path | None, out: Path | None) -> None:
    """Write what was asked for: JSON, a page, or both into a run folder."""
    from harness._util.atomic_files import write_json

    if json_file is not None:
        body = [each.to_json() for each in found]
        write_json(json_file, body[0] if len(body) == 1 else body)
    if report is not None:
        from harness.report.comparison_page import write_comparison_page

        say(f"page: {write_comparison_page(found, report)}")
    if out is not None:
        from harness.cli.show import say_left_out
        from harness.errors import HarnessError
        from harness.report.build import build_report
        from harness.report.comparison_page import store_comparisons

        for page in store_comparisons(found, out):
            say(f"page: {page}")
        damaged: list[HarnessError] = []
        say(f"report: {build_report(out, damaged=damaged)}")
        say_left_out(damaged)

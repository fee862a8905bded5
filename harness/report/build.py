"""Build the HTML report of a run folder: ``index.html`` and ``assets/``, from what lies in the folder."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.errors import RunError
from harness.files import write_bytes, write_text
from harness.report.view import ReportView, report_view
from harness.runs.store import read_manifest, read_rows

HERE = Path(__file__).parent
INDEX = "index.html"


def build_report(folder: Path) -> Path:
    """Write the report of a run; it opens from the disk, without a server or a network.

    The same run folder always gives the same bytes.

    Args:
        folder: a run folder with ``run.json`` and ``results.jsonl``.

    Returns:
        The path of ``index.html``.

    Raises:
        RunError: not a run folder, a row that cannot be read, or a folder that cannot be written.
    """
    page = render(report_view(folder, read_manifest(folder), read_rows(folder)))
    try:
        for asset in sorted((HERE / "assets").iterdir()):
            write_bytes(folder / "assets" / asset.name, asset.read_bytes())
        write_text(folder / INDEX, page)
    except OSError as error:
        raise RunError(
            f"the report cannot be written ({error.strerror or error})",
            file=folder,
            fix="make the run folder writable",
        ) from error
    return folder / INDEX


def render(view: ReportView) -> str:
    """Return the report's page as HTML; every text is escaped."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return templates.get_template(INDEX).render(report=view)

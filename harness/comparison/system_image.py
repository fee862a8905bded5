"""The image that another system under test makes of a case, to be compared as any inference image is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.errors import CaseError
from harness.runs.plan import RunOptions, plan
from harness.runs.tested_system import tested_system
from harness.schema.case import Case
from harness.systems.fetched_image import FetchedImage


def system_image(case: Case, options: RunOptions, folder: Path) -> FetchedImage:
    """Have the system that ``options`` name render ``case``, and put what it made into ``folder``.

    Raises:
        CaseError: the case cannot be re-run, or the system cannot be asked for it.
        ServerError: the system cannot be reached, or refuses.
        RenderError: the render failed there.
    """
    options = dataclasses.replace(options, against_reference=True)  # the proof renders in this process
    (item,) = plan([case], options, "cpu")
    if item.request is None:
        raise CaseError(f"{case.id} cannot be rendered there: {item.problem}", fix="choose another case")
    folder.mkdir(parents=True, exist_ok=True)
    with tested_system(options) as system:
        return system.fetch(item.request, folder)

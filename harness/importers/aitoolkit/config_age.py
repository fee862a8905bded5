"""Which previews were rendered before the config took the form that it has now.

Every start of a job rewrites its config; a job that is resumed with an edited one keeps its older previews.
Two things show it: the config's file time lies between previews, or the number of previews changes from one
step to the next. A copied config is younger than every preview, which shows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby, takewhile
from pathlib import Path

from harness.importers.aitoolkit.job_folder import PreviewFile
from harness.schema.case_parts import OlderConfig

MIN_RUNS = 2
"""Steps with too few previews that prove another config: a single one may be of a run that was killed."""


def older_previews(
    config_file: Path, previews: Sequence[PreviewFile], samples: int
) -> dict[Path, OlderConfig]:
    """Return the previews that the config is younger than, and how that is known.

    Args:
        previews: those of the ``sample`` section.
        samples: how many samples the config lists.
    """
    by_count = dict.fromkeys(_of_another_count(previews, samples), OlderConfig.COUNT)
    return _by_time(config_file, previews) | by_count


def _by_time(config_file: Path, previews: Sequence[PreviewFile]) -> dict[Path, OlderConfig]:
    modified = config_file.stat().st_mtime * 1000
    older = [preview.path for preview in previews if preview.unix_ms < modified]
    return dict.fromkeys(older, OlderConfig.TIME) if len(older) < len(previews) else {}


def _of_another_count(previews: Sequence[PreviewFile], samples: int) -> list[Path]:
    """Return the previews of all runs before the number of previews changed to that of the config."""
    runs = [list(run) for _, run in groupby(previews, key=lambda preview: (preview.step, preview.run))]
    times = [preview.unix_ms for run in runs for preview in run]
    if times != sorted(times):
        return []  # put together from several runs: the order of the steps is not that of the edits
    recent = len(list(takewhile(lambda run: len(run) == samples, reversed(runs))))
    older = runs[: len(runs) - recent]
    counts = {len(run) for run in older}
    whole = all([preview.index for preview in run] == list(range(len(run))) for run in older)
    if not recent or not whole or len(counts) != 1 or samples in counts:
        return []
    if len(older) < MIN_RUNS and counts.pop() < samples:
        return []
    return [preview.path for run in older for preview in run]


def describe_age(
    config_file: Path, previews: Sequence[PreviewFile], older: dict[Path, OlderConfig], samples: int
) -> list[str]:
    """Say for the whole import what the config's age means, and what to do."""
    date = datetime.fromtimestamp(config_file.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC")
    name = config_file.name
    if older:
        steps = sorted({preview.step for preview in previews if preview.path in older})
        fix = (
            "they are compared, and not judged where they differ; with the config of then: harness import "
            f"JOB_DIR --config OLD.yaml --steps {steps[0]}-{steps[-1]}"
        )
        if OlderConfig.COUNT in older.values():
            count = sum(preview.step == steps[0] for preview in previews if preview.path in older)
            why = f"those steps have {count} previews each and it lists {samples} samples"
            return [f"{name} was edited after step {steps[-1]}, which is certain: {why}; {fix}"]
        why = f"{len(older)} of {len(previews)} previews (the job was resumed)"
        return [f"{name} is dated {date}, later than {why}: their settings may have been others; {fix}"]
    if previews and all(preview.unix_ms < config_file.stat().st_mtime * 1000 for preview in previews):
        why = "a copied folder looks so, and so does a resumed job"
        return [
            f"{name} is dated {date}, later than every preview ({why}): their settings are taken to be "
            "the same as now"
        ]
    return []

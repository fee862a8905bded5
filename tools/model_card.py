"""Fill the model card's measured parts from a training run: steps, losses, prompts, hashes, axes, pictures.

    python tools/model_card.py --run runs/tiny --lora-job runs/jobs/tiny_flex2_inkprint --axes axes.md

Text between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in the card is replaced; the rest is written by hand.
``--axes`` holds what tools/axis_table.py printed, the LoRA job is that of tools/train_tiny_lora.py.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from PIL import Image

from harness._util.atomic_files import sha256_file, write_text

CHECKPOINT = Path(__file__).parent.parent / "harness" / "data" / "checkpoints" / "tiny-flex2-emoji"
ACROSS = 8


def stages(log: Path) -> str:
    """Return a table: the last row of every stage that was trained, with all that it measured."""
    last: dict[str, dict[str, Any]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "step" in row:
            last[row.pop("stage")] = row
    lines = ["| stage | steps | scenes | seconds | at the end |", "|---|---|---|---|---|"]
    for stage, row in last.items():
        known = [row.pop(name, "–") for name in ("step", "scenes", "spent")]
        measured = ", ".join(f"{name} {value}" for name, value in row.items())
        lines.append(f"| {stage} | {' | '.join(str(value) for value in known)} | {measured} |")
    return "\n".join(lines)


def prompts(file: Path) -> str:
    """Return the grid's prompts as a list, row by row."""
    words = file.read_text(encoding="utf-8").splitlines()
    rows = [words[start : start + ACROSS] for start in range(0, len(words), ACROSS)]
    return "\n".join(f"{number}. {' · '.join(row)}" for number, row in enumerate(rows, start=1))


def hashes(checkpoint: Path) -> str:
    """Return size and SHA-256 of every file of weights."""
    files = sorted(checkpoint.glob("*/*.safetensors"))
    rows = [
        f"| `{file.relative_to(checkpoint)}` | {file.stat().st_size:,} | `{sha256_file(file)}` |"
        for file in files
    ]
    return "\n".join(["| file | bytes | SHA-256 |", "|---|---|---|", *rows])


def before_and_after(job: Path) -> Image.Image:
    """Return the job's first previews above its last ones."""
    files = sorted((job / "samples").glob("*.jpg"), key=lambda file: file.name.split("__")[1])
    steps = sorted({file.name.split("__")[1].split("_")[0] for file in files})
    rows = [[file for file in files if f"__{step}_" in file.name] for step in (steps[0], steps[-1])]
    sheet = Image.new("RGB", (128 * len(rows[0]), 256))
    for top, row in enumerate(rows):
        for left, file in enumerate(row):
            sheet.paste(Image.open(file), (128 * left, 128 * top))
    return sheet


def fill(card: Path, parts: dict[str, str]) -> None:
    """Replace what stands between each part's marks."""
    text = card.read_text(encoding="utf-8")
    for name, value in parts.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not marks.search(text):
            raise SystemExit(f"{card}: has no <!-- {name} --> … <!-- /{name} -->")
        text = marks.sub(lambda found, value=value: f"{found[1]}{value}\n{found[2]}", text)  # type: ignore[misc]
    write_text(card, text)


def main() -> None:
    """Read the command line, write the pictures and fill the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder of tools/train_tiny.py")
    parser.add_argument("--lora-job", type=Path, required=True, help="job folder of tools/train_tiny_lora.py")
    parser.add_argument("--axes", type=Path, required=True, help="what tools/axis_table.py printed")
    options = parser.parse_args()
    for name in ("grid", "grid_guidance1"):
        Image.open(options.run / f"{name}.png").save(CHECKPOINT / f"{name}.webp", quality=90, method=6)
    before_and_after(options.lora_job).save(CHECKPOINT / "lora.webp", quality=90, method=6)
    parts = {
        "stages": stages(options.run / "log.jsonl"),
        "prompts": prompts(options.run / "prompts.txt"),
        "axes": options.axes.read_text(encoding="utf-8").strip(),
        "hashes": hashes(CHECKPOINT),
    }
    fill(CHECKPOINT / "README.md", parts)


if __name__ == "__main__":
    main()

"""The trainer's rules from a sample section to what each image is drawn with, written down once more.

Independent of the importer: read in ``ostris/ai-toolkit`` 0.12.26 (``SampleConfig``, ``SampleItem``,
``sample()``, ``GenerateImageConfig``) and in what torch makes of a seed, step by step, as plain data.
"""

from __future__ import annotations

from typing import Any

DEFAULTS = {
    "width": 512,
    "height": 512,
    "neg": False,
    "guidance_scale": 7,
    "sample_steps": 20,
    "network_multiplier": 1,
}
INT, FLOAT, TEXT = int, float, str
FLAGS: dict[str, tuple[str, type]] = {
    "w": ("width", INT),
    "h": ("height", INT),
    "d": ("seed", INT),
    "seed": ("seed", INT),
    "l": ("guidance_scale", FLOAT),
    "cfg": ("guidance_scale", FLOAT),
    "s": ("sample_steps", INT),
    "steps": ("sample_steps", INT),
    "m": ("network_multiplier", FLOAT),
    "network_multiplier": ("network_multiplier", FLOAT),
    "n": ("neg", TEXT),
    "ctrl_img": ("ctrl_img", TEXT),
    "p2": ("", TEXT),
    "n2": ("", TEXT),
    "gr": ("", FLOAT),
    "a": ("", FLOAT),
    "ref": ("", FLOAT),
    "frames": ("", INT),
    "num_frames": ("", INT),
    "fps": ("", INT),
    "ctrl_idx": ("", INT),
}


class TrainerFailsError(Exception):
    """The trainer raises on this section."""


def images_of(section: dict[str, Any], trigger: str | None) -> list[dict[str, Any]]:
    """Return what each image is drawn with; ``random`` where the seed is drawn and not recorded."""
    items = (
        section["samples"]
        if "samples" in section
        else [{"prompt": each} for each in section.get("prompts", [])]
    )
    shared = {key: section.get(key, default) for key, default in DEFAULTS.items()}
    prompts = [item["prompt"] for item in items if item.get("prompt") is not None]
    running = start = section.get("seed", 0)
    images = []
    for position, written in enumerate(prompts):
        item = items[position]  # counted apart from the prompts
        image = {key: item.get(key, shared[key]) for key in DEFAULTS}
        if section.get("walk_seed", False):
            running = start + position
        if item.get("seed") is not None:
            running = item["seed"]
        prompt = written
        if trigger is not None:
            prompt = written.replace("[name]", trigger).replace("[trigger]", trigger)
        image["ctrl_img"] = item.get("ctrl_img")
        image["random"] = running == -1
        image["seed"] = running
        _apply_flags(image, prompt)
        for edge in ("width", "height"):
            image[edge] = max(64, image[edge] - image[edge] % 8)
        if not image["random"]:
            if not -(2**63) <= image["seed"] <= 2**64 - 1:
                image["overflow"] = True
            elif image["seed"] < 0:
                image["seed"] += 2**64
        images.append(image)
    return images


def _apply_flags(image: dict[str, Any], prompt: str) -> None:
    head, *rest = prompt.strip().split("--") if prompt else [prompt]
    image["prompt"] = head.strip()
    for piece in rest:
        flag = piece.split(" ")[0].strip()
        content = piece[len(flag) :].strip()
        if flag not in FLAGS:
            continue
        name, kind = FLAGS[flag]
        try:
            value = kind(content)
        except ValueError as error:
            raise TrainerFailsError(prompt) from error
        if name:
            image[name] = value
        if name == "seed":
            image["random"] = False  # -1 was looked for before the flags were read

#!/usr/bin/env bash
# ssimulacra2 0.3.0: the score of two pictures changes by points when both are mirrored at their diagonal.
#
# Guess before the first run: it agrees with libjxl's ssimulacra2 to 0.1, and both are blind to the turn. Second guess,
# from four JPEGs whose libjxl scores are published (57.1 there, 52.6 here at quality 20): the blur.
# What it does: the blur pads rows with zeros, as libjxl does on all sides, and mirrors columns at the border. So a
# border counts on two sides and not on the others. A picture under 256 pixels also loses its smallest scale: libjxl
# halves a scale of 8 pixels once more, this loop ends there (grey 128 against 138 at 64²: 80.2 in libjxl).
# Output seen (Python 3.11, numpy 2.4, scipy 1.18):
#   256² picture against its JPEG: 56.57, both mirrored at the diagonal: 63.29
#   grey 128 against grey 138, 64²: 97.61
# Exit code 1 once the turn changes nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q ssimulacra2==0.3.0
"$folder/venv/bin/python" - <<'PYTHON'
import io

import numpy as np
from PIL import Image
from ssimulacra2 import compute_ssimulacra2


def file(pixels, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream


def decoded(stream):
    return np.array(Image.open(stream).convert("RGB"))


y, x = np.mgrid[:256, :256]
picture = np.stack([127 + 120 * np.sin(x / 17 + y**2 / (900 + 400 * c)) for c in range(3)], axis=-1).astype(np.uint8)
jpeg = decoded(file(picture, "JPEG", quality=20))
plain = compute_ssimulacra2(file(picture), file(jpeg))
turned = compute_ssimulacra2(*(file(np.ascontiguousarray(each.transpose(1, 0, 2))) for each in (picture, jpeg)))
print(f"256² picture against its JPEG: {plain:.2f}, both mirrored at the diagonal: {turned:.2f}")
grey = compute_ssimulacra2(*(file(np.full((64, 64, 3), level, np.uint8)) for level in (128, 138)))
print(f"grey 128 against grey 138, 64²: {grey:.2f}")
raise SystemExit(int(abs(plain - turned) < 0.1))
PYTHON

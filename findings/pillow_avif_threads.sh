#!/usr/bin/env bash
# Pillow: an AVIF file of the same pixels is another one on one thread than on two, and shows other pixels.
#
# Expected: threads change how long an encoder takes and not what it writes, as with JPEG, PNG and
# WebP. So a re-run could be encoded as its preview was, whatever machine wrote that.
# What it does: Pillow hands libavif as many threads as there are cores unless max_threads is given, and the encoder
# splits the work otherwise on one. Each count repeats its own bytes; two and four threads write the same.
# Output seen (Python 3.11, Pillow 13.0.0, Intel Xeon):
#   default      1 thread 209844 bytes, 2 threads 209941, 4 threads 209941; pixels differ by up to 21, rms 1.117 of 255
#   quality=90   1 thread 409016 bytes, 2 threads 408871, 4 threads 408871; pixels differ by up to 11, rms 0.614 of 255
#   speed=8      1 thread 207546 bytes, 2 threads 207610, 4 threads 207610; pixels differ by up to 7, rms 0.232 of 255
# Exits with 1 once one thread and two write the same. Uses the interpreter in $PYTHON, or makes an environment in a
# temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q pillow==13.0.0 numpy
fi
"$PYTHON" - <<'PY'
import io
import sys

import numpy as np
from PIL import Image

y, x = np.mgrid[0:1024, 0:1024]
drawn = np.stack([x // 4, y // 4, (x + y) // 8], -1) + np.random.default_rng(0).normal(0, 8, (1024, 1024, 3))
image = Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8))


def encoded(threads, **settings):
    file = io.BytesIO()
    image.save(file, "AVIF", max_threads=threads, **settings)
    return file.getvalue()


def shown(data):
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


same = False
for settings in ({}, {"quality": 90}, {"speed": 8}):
    one, two, four = (encoded(threads, **settings) for threads in (1, 2, 4))
    assert one == encoded(1, **settings) and two == encoded(2, **settings), "a count does not repeat its bytes"
    apart = np.abs(shown(one) - shown(two))
    name = ", ".join(f"{key}={value}" for key, value in settings.items()) or "default"
    print(
        f"{name:12} 1 thread {len(one)} bytes, 2 threads {len(two)}, 4 threads {len(four)}; "
        f"pixels differ by up to {apart.max()}, rms {np.sqrt((apart**2).mean()):.3f} of 255"
    )
    same |= one == two
sys.exit(same)
PY

#!/usr/bin/env bash
# safetensors 0.8.0: the same tensors with the same metadata are another file each time they are saved.
#
# A good engineer would guess: a format that sorts tensors by dtype and name, and that files are told apart by their hash
# with, gives the same bytes for the same content. Guess before the run: the order of the metadata's entries is drawn for
# each call, so that with one entry there is one file, with two there are two, with three six, and with eight one a call.
# What it does: so it is, within one process too; what lies behind the header is always the same. Libraries write one
# entry ("format": "pt"), which hides it. A trainer writes a dozen, so a LoRA that was saved again has another SHA-256:
# for a cache, a hub or a lock file it is another LoRA. A hash of the bytes behind the header knows it.
# Output seen (Python 3.11, numpy 2.4.6), of 40 calls:
#   no metadata    1 file, 1 behind the header
#   1 entry        1 file, 1 behind the header
#   2 entries      2 files, 1 behind the header
#   3 entries      6 files, 1 behind the header
#   8 entries     40 files, 1 behind the header
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q safetensors==0.8.0 numpy==2.4.6
fi
"$PYTHON" - <<'PY'
import hashlib
import sys

import numpy as np
from safetensors.numpy import save

TENSORS = {"b": np.ones(4, np.float32), "a": np.zeros(2, np.float16)}
found = []
for entries in (None, 1, 2, 3, 8):
    metadata = None if entries is None else {f"key{number}": str(number) for number in range(entries)}
    files = [save(TENSORS, metadata) for _ in range(40)]
    behind = [file[8 + int.from_bytes(file[:8], "little") :] for file in files]
    found.append([len({hashlib.sha256(each).digest() for each in whole}) for whole in (files, behind)])
    name = "no metadata" if entries is None else f"{entries} {'entry' if entries == 1 else 'entries'}"
    print(f"{name:13} {found[-1][0]:2} {'file' if found[-1][0] == 1 else 'files'}, {found[-1][1]} behind the header")
sys.exit(found[:3] != [[1, 1], [1, 1], [2, 1]] or not (found[3][0] > 4 and found[4][0] > 37 and found[4][1] == 1))
PY

#!/usr/bin/env bash
# transformers: a T5 tokenizer loads from a folder without any vocabulary file, and encodes without one.
#
# Guess before the first run: T5TokenizerFast.from_pretrained raises, because neither tokenizer.json nor
# spiece.model is in the folder.
# What it does: it loads without an exception or a warning, makes up a vocabulary of the 104 special tokens, and
# encodes every word as "▁" and <unk>. A pipeline renders with that.
# Output seen (transformers 5.24.0, Python 3.11):
#   transformers 5.24.0
#   vocabulary: 104 entries; ids: [3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 1]
# Exit code 1 once it raises, or encodes otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.24.0
mkdir "$folder/tokenizer"
# A valid folder of an older release (tokenizer_config.json beside spiece.model), of which the vocabulary was not copied.
cat > "$folder/tokenizer/tokenizer_config.json" <<'JSON'
{"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "extra_ids": 100, "model_max_length": 512}
JSON
"$folder/venv/bin/python" - "$folder/tokenizer" <<'PYTHON'
import sys

import transformers

print("transformers", transformers.__version__)
try:
    tokenizer = transformers.T5TokenizerFast.from_pretrained(sys.argv[1], local_files_only=True)
except Exception as error:
    print("raised", type(error).__name__, str(error).splitlines()[0])
    sys.exit(1)
ids = tokenizer("a red boat and a blue star").input_ids
print("vocabulary:", len(tokenizer), "entries; ids:", ids)
sys.exit(0 if tokenizer.unk_token_id in ids else 1)
PYTHON

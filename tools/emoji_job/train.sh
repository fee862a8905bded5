#!/usr/bin/env bash
# Train the demo's job with AI Toolkit itself, on the embedded checkpoint and the ten pictures. A few minutes on a CPU.
#
#   bash tools/emoji_job/train.sh AI_TOOLKIT PYTHON [CHECKPOINT]
#
# AI_TOOLKIT is a checkout of github.com/ostris/ai-toolkit, PYTHON an interpreter that has what it imports. The
# job replaces harness/data/jobs/emoji_inkprint; thumbnails and the optimizer's state are left out.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
toolkit=$(realpath "$1")
python=$2
checkpoint=$(realpath "${3:-$root/harness/data/checkpoints/tiny-flex2-emoji}")
job=emoji_inkprint
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$work"
cp "$root/tools/emoji_job/config.yaml" .
cp -r "$root/tools/lora_pictures" .
ln -s "$checkpoint" tiny-flex2-emoji
HF_HUB_OFFLINE=1 "$python" "$toolkit/run.py" config.yaml

out=$root/harness/data/jobs/$job
rm -rf "$out"
mkdir -p "$out/samples"
cp "output/$job"/{config.yaml,*.safetensors} "$out"
cp "output/$job"/samples/*.jpg "$out/samples"
du -sh "$out"

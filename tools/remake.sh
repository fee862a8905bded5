#!/usr/bin/env bash
# Remake all that is derived from the embedded checkpoint, after tools/train_tiny.py trained a new one.
#
#   bash tools/remake.sh RUN AI_TOOLKIT PYTHON
#
# RUN is that run's folder; AI_TOOLKIT and PYTHON are as tools/emoji_job/train.sh takes them. 17 minutes on two busy CPU
# cores. The limits that harness/judging/verdict.py holds, and the documents that name them, are then changed by hand:
# pytest tests/judging/test_verdict.py says where they differ from the calibration. What other machines measured (environments.json,
# emoji_inkprint-h100.json) is made again there: benchmarks/results/environments.txt has the commands.
set -euo pipefail
cd "$(dirname "$0")/.."
run=$1
data=harness/data
checkpoint=$data/checkpoints/tiny-flex2-emoji
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp -r "$run/checkpoint/." "$checkpoint"
bash tools/emoji_job/train.sh "$2" "$3"
python tools/train_tiny_lora.py --checkpoint "$checkpoint" --out "$work"
python tools/axis_table.py > "$work/axes.md"
python tools/model_card.py --run "$run" --lora-job "$work/tiny_flex2_inkprint" --axes "$work/axes.md"

harness import $data/jobs/emoji_inkprint --out cases/emoji_inkprint
# The job was sampled under transformers 5.24, whose T5 attention is sdpa.
for case in cases/emoji_inkprint/*.case.yaml; do echo 't5_attention: sdpa' >> "$case"; done
harness calibrate cases/emoji_inkprint --device cpu --out $data/calibration/emoji_inkprint-cpu.json --run reports/calibration

harness demo --out "$work/demo" --cases "$work/demo-cases"
python tools/screenshots.py "$work/demo"

#!/usr/bin/env bash
# The whole flow on a GPU: doctor, the genuine job on the tiny checkpoint, then a random-weight checkpoint of the
# real shape with a random LoRA.   bash benchmarks/main_flow.sh WORK_FOLDER
set -uo pipefail
cd "$(dirname "$0")/.."
work=$1
run() { echo; echo "\$ $*"; "$@"; echo "exit code $?"; }
export COLUMNS=150 HF_HUB_OFFLINE=1

run nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
run harness doctor
run harness import harness/data/jobs/emoji_inkprint --out "$work/tiny-cases"
run harness run "$work/tiny-cases" --device cuda --out "$work/tiny-run"
run python benchmarks/make_job.py harness/data/checkpoints/tiny-flex2-emoji "$work/tiny-job" --size 128
run harness import "$work/tiny-job" --out "$work/tiny-job-cases"
run harness run "$work/tiny-job-cases" --device cuda --out "$work/tiny-job-run"
run python benchmarks/make_full_size.py "$work/full"
run python benchmarks/make_job.py "$work/full" "$work/full-job"
run harness import "$work/full-job" --out "$work/full-cases"
run harness run "$work/full-cases" --device cuda --out "$work/full-run"
run harness run "$work/full-cases" --device cuda --offload model --only '*_0' --out "$work/full-run-offload"
run python -c "
import json, sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    print(row['case'], row['verdict'], row['rendered']['offload'], row['seconds'])
" "$work/full-run/results.jsonl"

#!/usr/bin/env bash
# On a GPU: pytest twice over the tiny and a full-size random-weight checkpoint (the second run must equal its
# baselines bit for bit), then the same cases without and with model offload.   bash benchmarks/gpu_checks.sh WORK_FOLDER
set -uo pipefail
cd "$(dirname "$0")/.."
work=$1
run() { echo; echo "\$ $*"; "$@"; echo "exit code $?"; }
cases() { # name base size
  python benchmarks/make_job.py "$2" "$work/$1-job" --size "$3"
  harness import "$work/$1-job" --out "$work/cases/$1" > "$work/$1-import.txt"
}
export COLUMNS=150 HF_HUB_OFFLINE=1

run nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
cases tiny harness/data/checkpoints/tiny-flex2-emoji 128
python benchmarks/make_full_size.py "$work/full" 2> /dev/null
cases full "$work/full" 1024
check=(python -m pytest -p harness.pytest_plugin -p no:cacheprovider -q -c /dev/null --rootdir "$work"
  "$work/cases" --gpu "--harness-baselines=$work/baselines")
run "${check[@]}" "--harness-results=$work/first" --harness-update-baselines --harness-reason=first
run "${check[@]}" "--harness-results=$work/second"
for mode in none model; do
  run harness run "$work/cases/full" --device cuda --offload "$mode" --only '*_0' --out "$work/offload-$mode"
done

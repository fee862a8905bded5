#!/usr/bin/env bash
# What a GPU has to show of speed, on a random-weight checkpoint of the real shape. Each stage is meant to take
# under 9 minutes; the first makes the checkpoint, the others find it.
#   bash benchmarks/engine_gpu.sh WORK_FOLDER engine        eager against exact, 512² and 1024²
#   bash benchmarks/engine_gpu.sh WORK_FOLDER offload       seconds and peak memory with --offload model, sequential
#   bash benchmarks/engine_gpu.sh WORK_FOLDER reference     4 × 12 settings three ways at 512²; overhead
#   bash benchmarks/engine_gpu.sh WORK_FOLDER large         the same at 1024²
#   bash benchmarks/engine_gpu.sh WORK_FOLDER gpus          32 renders on one GPU and on two
set -uo pipefail
cd "$(dirname "$0")/.."
work=$1 stage=${2:-engine}
export COLUMNS=150 HF_HUB_OFFLINE=1
run() { echo; echo "\$ $*" | sed "s|$work|WORK|g"; "$@" 2>&1 | sed "s|$work|WORK|g"; echo "exit code ${PIPESTATUS[0]}"; }
job() { [ -d "$work/job-$1" ] || python benchmarks/make_job.py "$work/full" "$work/job-$1" --size "$1" > /dev/null; }

run nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
python -c "import torch, diffusers; print('torch', torch.__version__, 'diffusers', diffusers.__version__)"
[ -d "$work/full/vae" ] || python benchmarks/make_full_size.py "$work/full"
case $stage in
  engine)
    run python -m pytest tests/reference/test_engine_cuda.py -q -s
    run python benchmarks/engine.py --dtypes bf16 fp32
    run python benchmarks/engine.py "$work/full" --sizes 512 1024 --steps 25 ;;
  offload)
    run python benchmarks/engine.py "$work/full" --sizes 1024 --steps 25 --offload model --repeats 1
    run python benchmarks/engine.py "$work/full" --sizes 512 --steps 4 --offload sequential --repeats 1 ;;
  reference)
    job 512
    run python benchmarks/against_reference.py "$work/job-512" --base "$work/full" ;;
  large)
    job 1024
    run python benchmarks/against_reference.py "$work/job-1024" --base "$work/full" --plain 1 ;;
  gpus)
    job 1024
    harness import "$work/job-1024" --out "$work/cases-1024" > /dev/null
    run python benchmarks/gpus.py "$work/cases-1024" --base "$work/full" --gpus 2 ;;
  *) echo "engine, offload, reference, large or gpus, not $stage" >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# What a GPU has to show of speed, on a random-weight checkpoint of the real shape (26 GB, made once in FOLDER).
#   bash benchmarks/engine_gpu.sh FOLDER STAGE...     each stage's output is kept as it comes, in FOLDER/out/STAGE.txt
# One GPU (CUDA_VISIBLE_DEVICES chooses it):
#   prepare     the checkpoint, and jobs of 512² and 1024² for the other stages
#   engine      eager against exact, 512² and 1024², 25 steps
#   reference   4 LoRA scales × 12 schedules three ways at 512²; overhead
#   large       the same at 1024², without (a)
#   offload     seconds and peak memory with --offload model, sequential
#   tests       CUDA tests of the exact engine; bf16 and fp32 on the tiny checkpoint
#   calibrate   harness calibrate over the embedded job's cases
#   environments  the embedded job's cases on GPU and CPU, in bf16 and fp32
#   all         all of these, one after the other, going on after one that fails
#   one         pytest --gpu by one process: the first half of two
# Two GPUs:
#   gpus        32 renders on one GPU and on two
#   two         pytest -n 2 --gpu against one
set -uo pipefail
cd "$(dirname "$0")/.."
work=$1
shift
export COLUMNS=150 HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
base=${BASE:-$work/full} sizes=${SIZES:-512 1024} steps=${STEPS:-25} copies=${COPIES:-40}
mkdir -p "$work/out"

run() {
  echo "\$ $*"
  local started=$SECONDS
  "$@" 2>&1
  echo "exit code $?, $((SECONDS - started)) s"
  echo
}
harness() { python -m harness "$@"; }
checkpoint() {
  [ -d "$base/vae" ] || run python benchmarks/make_full_size.py "$base"
}
job() {
  checkpoint
  [ -d "$work/job-$1" ] || run python benchmarks/make_job.py "$base" "$work/job-$1" --size "$1" --steps "$steps"
}
cases() {
  job "$1"
  [ -d "$work/cases-$1" ] || harness import "$work/job-$1" --out "$work/cases-$1" > /dev/null
}
embedded() {
  [ -d "$work/cases-tiny" ] && return
  harness import harness/data/jobs/emoji_inkprint --out "$work/cases-tiny" > /dev/null
  sed -i 's/^noise: auto/noise: current/' "$work"/cases-tiny/*.case.yaml  # drawn under torch 2.14
}
small=${sizes% *} large=${sizes#* }

stage() {
  python -c "import os, torch, diffusers as d; g = torch.cuda.is_available() and torch.cuda.get_device_name(); \
print(g, 'torch', torch.__version__, 'diffusers', d.__version__, 'load', os.getloadavg()[0])"
  case $1 in
    prepare) job "$small"; job "$large" ;;
    engine) checkpoint; run python benchmarks/engine.py "$base" --sizes $sizes --steps "$steps" --profile ;;
    reference) job "$small"; run python benchmarks/against_reference.py "$work/job-$small" --base "$base" ;;
    large) job "$large"; run python benchmarks/against_reference.py "$work/job-$large" --base "$base" --plain 0 ;;
    offload)
      checkpoint
      run python benchmarks/engine.py "$base" --sizes "$large" --steps "$steps" --offload model --repeats 1
      run python benchmarks/engine.py "$base" --sizes "$large" --steps 2 --offload sequential --repeats 1 ;;
    tests)
      run python -m pytest -c /dev/null --rootdir "$PWD" -p no:cacheprovider tests/reference/test_engine_cuda.py -q -s
      run python benchmarks/engine.py --dtypes bf16 fp32 ;;
    calibrate)
      embedded
      run harness calibrate "$work"/cases-tiny/*_0.case.yaml --device auto \
        --out "$work/out/tolerance.json" --run "$work/calibration" ;;
    environments)
      embedded
      for device in cuda cpu; do
        for dtype in bf16 fp32; do
          OMP_NUM_THREADS=4 run harness run "$work/cases-tiny" --device $device --dtype $dtype --out "$work/environments/$device-$dtype"
        done
      done
      run python benchmarks/environments.py "$work"/environments/* ;;
    gpus) cases "$large"; run python benchmarks/gpus.py "$work/cases-$large" --base "$base" --gpus 2 --steps "$steps" ;;
    one | two)
      cases "$large"
      run python benchmarks/two_gpus.py "$work/cases-$large" "$work/two" --copies "$copies" --only "$1" ;;
    *) echo "no stage $1" >&2; return 2 ;;
  esac
}
for name in "$@"; do
  stages=$name
  [ "$name" = all ] && stages="prepare engine reference large offload tests calibrate environments"
  for each in $stages; do
    stage "$each" 2>&1 | sed -u "s|$work|WORK|g" | tee "$work/out/$each.txt"
  done
done

"""Data shipped with the package; see README.md here."""

from pathlib import Path

_HERE = Path(__file__).parent
CHECKPOINTS = _HERE / "checkpoints"
JOBS = _HERE / "jobs"
LPIPS_WEIGHTS = _HERE / "lpips" / "alexnet_features.safetensors"
INFERENCE_IMAGES = _HERE / "inference_images"

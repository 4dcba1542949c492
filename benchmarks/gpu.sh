#!/usr/bin/env bash
# What a sync costs on an NVIDIA GPU: every model, the scaling series up to a billion weights, and the peers installed.
# Installs nothing: needs laperm_jax with its extra [lab], and jax with CUDA. Results go to benchmarks/results/DEVICE, or
# to $OUT/DEVICE. At most nine minutes, or what LIMIT says, in seconds; what is measured by then is kept.
#
#   benchmarks/gpu.sh [OPTIONS OF laperm bench]
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" XLA_PYTHON_CLIENT_PREALLOCATE=false TF_CPP_MIN_LOG_LEVEL=3
device=$(python3 -c 'import jax; gpu = jax.devices("gpu")[0]; print(gpu.device_kind.lower().replace(" ", "-"))') ||
  { echo "gpu.sh: jax finds no NVIDIA GPU here; install jax[cuda] on a machine that has one" >&2; exit 2; }
python3 -c 'import laperm_jax.lab.benchmark.bench' ||
  { echo "gpu.sh: install the package first: pip install '.[lab]', or --no-deps . where the rest is there" >&2; exit 2; }
timeout "${LIMIT:-540}" python3 -m laperm_jax.lab.cli.app bench --peers --repeats 21 "$@" \
  --out "${OUT:-benchmarks/results}/$device"

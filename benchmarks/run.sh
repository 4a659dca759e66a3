#!/usr/bin/env bash
# DCGAN-32 in ganpipe against the same networks in eager PyTorch, alternately on this machine.
# PyTorch goes into a virtual environment of its own, .venv-bench.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! .venv-bench/bin/python -c 'import torch' 2>/dev/null; then
    echo "bench: making .venv-bench with torch 2.13.0"
    .venv/bin/python -m venv .venv-bench
    .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy
fi
exec .venv/bin/python benchmarks/dcgan32.py --torch_python=.venv-bench/bin/python "$@"

"""Kernels: compiled on a GPU, run by Triton's interpreter without one.

Triton comes with torch's builds for a GPU; continuous integration installs it beside the build for a CPU.
"""

import importlib.util
import os

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined: nothing here has imported one yet
needs_triton = pytest.mark.skipif(
    not (importlib.util.find_spec("triton") or os.environ.get("PJAP_BENCH_NEEDS_TRITON")), reason="this torch came without Triton"
)

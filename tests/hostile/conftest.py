"""As in tests/kernels: without a GPU, Triton's kernels run in its interpreter."""

import os
import sys

import torch

if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"

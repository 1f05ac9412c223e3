"""Without a GPU, Triton's kernels run in its interpreter; it reads the variable once, when it is first imported."""

import os
import sys

import torch

if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"

"""Gives code that is imported in the middle of a job the state of torch that it would have had at the start.

And leaves no trace in the random numbers of the job.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def usual_torch_state() -> Iterator[None]:
    """Leave what a node has set for its own computation, so that tensors that a module makes are usual ones.

    ComfyUI runs nodes in inference mode. Tensors that are made in it cannot be trained with, ever.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "inference_mode") or not hasattr(torch, "get_default_dtype"):
        yield  # torch is not imported yet, or is just being imported.
        return
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.callback(torch.set_rng_state, torch.get_rng_state())
        stack.callback(random.setstate, random.getstate())
        if (numpy := sys.modules.get("numpy")) is not None:
            stack.callback(numpy.random.set_state, numpy.random.get_state())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch._C._len_torch_function_stack():  # As within ``with torch.device("meta")``.
            stack.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield

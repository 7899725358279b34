"""Runs before ComfyUI imports torch, as a pack's prestartup script does."""

import os
import sys

os.environ["TEST_NODES_PRESTARTUP"] = f"torch imported: {'torch' in sys.modules}"

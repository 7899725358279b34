"""RunPod's Hub requires a file of this name. The image does not use it: ``/start.sh`` starts the worker."""

import sys

from worker.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["serve"]))

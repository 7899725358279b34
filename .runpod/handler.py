"""RunPod's Hub asks for a file of this name. What serves jobs is the worker itself; see ``/start.sh`` of the image."""

import sys

from worker.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["serve"]))

"""What both backends share: the queue of runs, time limits, the jobs' folders, and the worker's life."""

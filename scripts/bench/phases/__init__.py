"""The measurements, a module for each phase."""

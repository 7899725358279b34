"""Node packs that are imported when a job needs them: ``LAZY_CUSTOM_NODES``."""

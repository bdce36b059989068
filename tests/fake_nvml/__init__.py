"""A scripted libnvidia-ml.so.1: GPUs for machines without one (`machine` steers it, `fixtures` lends it to tests)."""

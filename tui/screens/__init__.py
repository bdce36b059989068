"""One module and one stylesheet per mode."""

"""The prediction files of challenges: written, read back, checked; each entry point is one module."""

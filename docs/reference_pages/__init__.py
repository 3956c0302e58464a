"""What `docs/generate_reference.py` writes: one module per sort of page, each a function to Markdown."""

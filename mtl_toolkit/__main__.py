"""`python -m mtl_toolkit`, for torchrun."""

from .cli import entry

if __name__ == "__main__":
    entry()

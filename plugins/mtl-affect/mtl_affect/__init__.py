"""Affect recognition for mtl-toolkit; each entry point is a module of its own."""

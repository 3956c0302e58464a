"""Generic plugins of mtl-toolkit; each entry point is a module of its own."""

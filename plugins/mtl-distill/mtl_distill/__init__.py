"""Knowledge distillation for mtl-toolkit."""

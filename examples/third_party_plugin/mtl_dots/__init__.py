"""Counting: a head, a loss, a dataset and a lifecycle hook for mtl-toolkit."""

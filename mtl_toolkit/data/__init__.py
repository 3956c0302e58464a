"""Samples, streams of them, and the batches they make."""

from .augment import augment, load_size
from .loader import StreamLoader, collate
from .samples import CachedSamples, ConcatSamples, TensorSamples
from .streams import LiveStream, SequentialPlan, TrainPlan, epoch_steps

__all__ = [
    "CachedSamples",
    "ConcatSamples",
    "LiveStream",
    "SequentialPlan",
    "StreamLoader",
    "TensorSamples",
    "TrainPlan",
    "augment",
    "collate",
    "epoch_steps",
    "load_size",
]

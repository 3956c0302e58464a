"""Samples, streams of them, and the batches they make."""

from .augment import augment
from .description import Description, describe
from .inspect import Coverage, FeedSummary, Overlap, find_overlap, fingerprint, summarise
from .loader import StreamLoader, allowed_cores, collate
from .samples import CachedSamples, ConcatSamples, TensorSamples
from .streams import LiveStream, SequentialPlan, TrainPlan, epoch_steps

__all__ = [
    "CachedSamples",
    "ConcatSamples",
    "Coverage",
    "Description",
    "FeedSummary",
    "LiveStream",
    "Overlap",
    "SequentialPlan",
    "StreamLoader",
    "TensorSamples",
    "TrainPlan",
    "allowed_cores",
    "augment",
    "collate",
    "describe",
    "epoch_steps",
    "find_overlap",
    "fingerprint",
    "summarise",
]

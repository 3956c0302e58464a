"""Samples, streams of them, and the batches they make."""

from .augment import augment
from .description import Description, describe
from .feature_file import FeatureLayout, create_features, map_features, open_features, video_order
from .feature_samples import FeatureSamples
from .folds import split_folds, units_of, units_of_strata
from .inspect import Coverage, FeedSummary, Overlap, find_overlap, fingerprint, summarise
from .loader import StreamLoader, allowed_cores, collate
from .samples import CachedSamples, ConcatSamples, TensorSamples, column_bytes, part_numbers
from .streams import LiveStream, SequentialPlan, TrainPlan, epoch_steps
from .subset import SubsetSamples
from .windows import WindowTable, covering_windows, frame_numbers, training_windows, video_numbers

__all__ = [
    "CachedSamples",
    "ConcatSamples",
    "Coverage",
    "Description",
    "FeatureLayout",
    "FeatureSamples",
    "FeedSummary",
    "LiveStream",
    "Overlap",
    "SequentialPlan",
    "StreamLoader",
    "SubsetSamples",
    "TensorSamples",
    "TrainPlan",
    "WindowTable",
    "allowed_cores",
    "augment",
    "collate",
    "column_bytes",
    "covering_windows",
    "create_features",
    "describe",
    "epoch_steps",
    "find_overlap",
    "fingerprint",
    "frame_numbers",
    "map_features",
    "open_features",
    "part_numbers",
    "split_folds",
    "summarise",
    "training_windows",
    "units_of",
    "units_of_strata",
    "video_numbers",
    "video_order",
]

"""Datasets as three subject-wise splits of faces of one size, memory-mapped and shared by all workers."""

from fer.datasets.arrays import SIZE, SPLITS, Split
from fer.datasets.dataset import Dataset
from fer.datasets.loading import load, near_copies, same_files
from fer.datasets.lookup import locate, survey
from fer.datasets.report import DatasetReport, ReaderOptions

__all__ = [
    "SIZE",
    "SPLITS",
    "Dataset",
    "DatasetReport",
    "ReaderOptions",
    "Split",
    "load",
    "locate",
    "near_copies",
    "same_files",
    "survey",
]

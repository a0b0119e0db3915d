#!/usr/bin/env python3
"""Writes scikit-learn's handwritten digits as Caffe reads them: `train_lmdb` and `test_lmdb`, with a
Datum for each image."""

import lmdb
import numpy
from sklearn.datasets import load_digits


def datum(image, label):
    """channels, height, width, data and label; all lengths and numbers are below 128."""
    pixels = image.astype(numpy.uint8).tobytes()
    return bytes([8, 1, 16, 8, 24, 8, 34, len(pixels)]) + pixels + bytes([40, label])


digits = load_digits()
order = numpy.random.RandomState(7).permutation(len(digits.target))
for name, rows in (("test_lmdb", order[:450]), ("train_lmdb", order[450:])):
    with lmdb.open(name, map_size=1 << 24) as database, database.begin(write=True) as writing:
        for number, row in enumerate(rows):
            writing.put(b"%08d" % number, datum(digits.data[row], int(digits.target[row])))

#!/usr/bin/env python3
"""Writes scikit-learn's handwritten digits in CNTK's text format: train.ctf and test.ctf in the
directory that is given."""

import os
import sys

import numpy
from sklearn.datasets import load_digits

digits = load_digits()
order = numpy.random.RandomState(7).permutation(len(digits.target))
for name, rows in (("test.ctf", order[:449]), ("train.ctf", order[449:])):
    with open(os.path.join(sys.argv[1], name), "w") as file:
        for row in rows:
            label = " ".join(str(int(digits.target[row] == digit)) for digit in range(10))
            pixels = " ".join(str(int(pixel)) for pixel in digits.data[row])
            file.write(f"|labels {label} |features {pixels}\n")

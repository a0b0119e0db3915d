#!/usr/bin/env python3
"""Trains a support vector machine on scikit-learn's handwritten digits."""

import argparse
import os
import sys

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--accuracy", type=float, default=0.97, help="fail below it")
arguments = parser.parse_args()

digits = load_digits()
parts = train_test_split(digits.data / 16, digits.target, test_size=0.25, random_state=7)
images, test_images, labels, test_labels = parts
node = os.environ.get("AZ_BATCH_NODE_ID", "?")
print(f"{len(labels)} images on {node}", flush=True)
accuracy = float(SVC(C=10).fit(images, labels).score(test_images, test_labels))
print(f"accuracy {accuracy:.4f}", flush=True)
sys.exit(accuracy < arguments.accuracy)

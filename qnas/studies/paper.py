"""The figures of Yun and Wong's tables 3 to 5: CIFAR-10, predicted parameters, unseen networks, in per cent.

For each split and bit width the best hypernetwork that they report: GHN-Q (table 3), GHN-QAT of one bit width
(table 4), or the one trained on networks without batch norms alone (table 5).
"""

from typing import NamedTuple


class Figure(NamedTuple):
    """Mean and maximum of top-1 accuracy, mean of top-5 where it is given, and the number of the table."""

    top1: float
    top1_max: float
    top5: float | None
    table: int


PAPER = {
    ("id", "fp32"): Figure(71.1, 80.2, 97.3, 3),
    ("deep", "fp32"): Figure(68.1, 79.8, 96.4, 3),
    ("wide", "fp32"): Figure(69.8, 79.0, 97.2, 3),
    ("bn_free", "fp32"): Figure(65.7, 72.9, None, 5),
    ("id", "w8a8"): Figure(71.2, 80.9, 97.4, 4),
    ("deep", "w8a8"): Figure(68.0, 79.7, 96.4, 4),
    ("wide", "w8a8"): Figure(69.9, 79.6, 97.1, 4),
    ("bn_free", "w8a8"): Figure(64.5, 71.3, None, 5),
    ("id", "w4a8"): Figure(60.2, 75.3, 94.5, 4),
    ("deep", "w4a8"): Figure(56.5, 72.5, 92.8, 4),
    ("wide", "w4a8"): Figure(58.1, 73.5, 94.0, 4),
    ("bn_free", "w4a8"): Figure(58.0, 65.8, None, 5),
    ("id", "w4a4"): Figure(52.5, 65.7, 91.9, 4),
    ("deep", "w4a4"): Figure(50.3, 63.7, 90.5, 4),
    ("wide", "w4a4"): Figure(50.6, 64.1, 91.3, 4),
    ("bn_free", "w4a4"): Figure(49.3, 62.0, None, 5),
    ("id", "w2a2"): Figure(26.3, 37.4, 73.2, 4),
    ("deep", "w2a2"): Figure(23.1, 34.0, 69.7, 4),
    ("wide", "w2a2"): Figure(24.6, 35.6, 71.6, 4),
    ("bn_free", "w2a2"): Figure(11.5, 18.1, 53.4, 3),
}

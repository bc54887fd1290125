"""The embedded data set: scikit-learn's digits, 1,797 grey images of 8 x 8 pixels in ten classes; no network needed."""

import numpy as np

from qnas.data.images import DataSet, split_data

TEST, VALIDATION = 360, 360
HIGHEST = 16
ABOUT = (
    "scikit-learn's digits: hand-written ones of 43 people (Alpaydin and Kaynak, 1998), 8 x 8 pixels of 0 to 16, light "
    "on a dark ground."
)


def digits() -> DataSet:
    """The digits, always split alike: 1,077 training, 360 validation and 360 test images, stratified by class."""
    from sklearn.datasets import load_digits  # which takes a second to import, and most data are others
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 1, 8, 8).astype(np.uint8)
    rest, test = train_test_split(np.arange(len(labels)), test_size=TEST, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=VALIDATION, stratify=labels[rest], random_state=0)
    order = np.concatenate([train, validation])
    names = tuple(str(digit) for digit in range(10))
    return split_data(
        "digits", names, (pixels[order], labels[order]), (pixels[test], labels[test]), VALIDATION, highest=HIGHEST,
        about=ABOUT, licence="CC-BY-4.0",
    )  # fmt: skip

"""The splits that a search space may have."""

SPLITS = ("id", "deep", "wide", "bn_free")

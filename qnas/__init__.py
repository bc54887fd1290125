"""qnas: search, train and export low-bit convolutional networks, guided by a graph hypernetwork."""

__version__ = "0.1.0"

"""Numbers on a grid: bit widths, affine quantization, fake quantization, batch-norm folding and ranges."""

"""Which architectures exist: genotypes and search spaces. Imports no torch."""

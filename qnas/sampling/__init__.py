"""Draws architectures of a space under its limits."""

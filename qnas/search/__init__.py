"""Chooses: genes, limits, samplers, and the stages from screening to the winner."""

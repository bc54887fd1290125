"""Writes a trained network for deployment and checks what was written."""

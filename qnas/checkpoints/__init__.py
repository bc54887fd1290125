"""Hypernetwork checkpoints: safetensors with their configuration, and a card that says how they were made."""

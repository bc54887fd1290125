"""How good a network looks before it is trained, and how far such scores can be trusted."""

"""The graph hypernetwork: node embeddings, message passing, decoders."""

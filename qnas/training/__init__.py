"""Updates weights over steps: the hypernetwork's, and one network's."""

"""Measures: accuracy of a network, tables of a hypernetwork."""

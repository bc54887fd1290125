"""Answers questions about the method: what networks reach when trained, and how well they were judged before."""

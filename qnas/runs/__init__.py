"""A folder that lasts: files never half-written, what a run is of, and reading it again."""

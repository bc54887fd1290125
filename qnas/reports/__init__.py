"""Shows: tables, metrics files."""

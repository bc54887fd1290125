"""Shows: tables, figures, pages."""

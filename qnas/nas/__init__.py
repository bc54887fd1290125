"""Chooses: proposals within budgets, scored, trained in rungs, the best kept."""

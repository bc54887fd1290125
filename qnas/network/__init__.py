"""One description of a network, the plan, and what reads it: costs, the functional forward pass, the module."""

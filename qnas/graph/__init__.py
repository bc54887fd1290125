"""How a graph network sees a plan: vocabulary, virtual edges, torch-geometric data."""

"""The layers of a model: embeddings, interactions, updates and read-outs."""

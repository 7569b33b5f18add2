"""Layers that interactions and blocks are made of: dense and residual layers, embeddings, scale factors."""

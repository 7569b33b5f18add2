"""Geometry: distances, directions and angles as differentiable functions of positions and cells."""

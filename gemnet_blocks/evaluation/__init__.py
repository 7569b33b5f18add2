"""How far predictions are from labels: metrics, tables and plots."""

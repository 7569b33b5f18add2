"""GemNet-OC, GemNet-T, and GemNet-Q with the interfaces of the published implementations."""

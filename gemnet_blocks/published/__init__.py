"""GemNet-OC and GemNet-T with the interfaces of the published implementations."""

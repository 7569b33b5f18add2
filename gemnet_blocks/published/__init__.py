"""GemNet-OC and GemNet-T under their published names, arguments and state keys."""

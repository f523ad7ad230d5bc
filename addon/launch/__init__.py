"""Starts the proxy, and a tool behind it: `patchbay run` and `patchbay env`. Uses the standard library only."""

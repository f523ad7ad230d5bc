"""The `patchbay` command. It may use every other room; no other room uses it."""

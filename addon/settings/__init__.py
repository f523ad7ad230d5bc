"""The settings: their values, and how they are read from YAML."""

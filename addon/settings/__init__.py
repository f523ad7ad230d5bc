"""The settings: their values, and reading them from YAML."""

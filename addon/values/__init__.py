"""The frozen values that travel between modules."""

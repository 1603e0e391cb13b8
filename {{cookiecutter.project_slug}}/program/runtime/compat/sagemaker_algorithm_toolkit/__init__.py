"""What programs for the built-in container import under this name."""

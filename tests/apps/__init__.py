"""Applications that the integration tests serve."""

"""contraflow."""

"""The decoder: generators of several kinds behind one interface, and the service that keeps one full."""

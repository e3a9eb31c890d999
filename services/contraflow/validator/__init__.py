"""The validator: statements about claimed clusters, written from some pairs and judged on fresh ones."""

"""The judge tried out: on what Prometheus remembers, and on made-up traffic of today's size. Pure."""

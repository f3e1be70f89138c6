"""Preflight: what is around a route and would make a release hurt, or blind. One kind of object per file."""

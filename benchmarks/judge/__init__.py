"""The judge's benchmark: made-up traffic, the same for every judge; `make bench-judge`."""

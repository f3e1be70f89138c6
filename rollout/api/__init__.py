"""What is served over HTTP: today the probes and our own metrics."""

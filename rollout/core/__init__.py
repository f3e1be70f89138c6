"""The pure core: what a release is and what to do next. No clock, no log, no I/O, no globals."""

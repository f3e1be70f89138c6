"""One outside system per file. A vendor's errors and dicts stop here; only `assembly.py` imports these modules."""

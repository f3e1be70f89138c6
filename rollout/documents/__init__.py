"""Documents that are generated from the code, so that they cannot disagree with it: schemas, CRDs, reference tables.

Pure functions from models to text, and `python -m rollout.documents [--check]`, which writes the files of a checkout.
Nothing here runs in the controller, and no prose lives here: it stands around the markers in the documents themselves.
"""

"""The sandbox's Kubernetes API: just enough of it for our controller, our CLI and kubectl, on 127.0.0.1.

Belongs here: what kube-apiserver 1.34 does to objects and says on the wire; `tests/contract/kubernetes` holds both
side by side. Does not belong here: controllers (no Pod ever starts because a Deployment asks for it), schemas of kinds
that are neither ours nor written by us, authentication, persistence.
"""

"""The sandbox's Kubernetes API: just enough of it for our controller, our CLI and kubectl, on 127.0.0.1.

Belongs here: what kube-apiserver 1.32 does to objects and says on the wire. Does not belong here: controllers
(no Pod ever starts because a Deployment asks for it), CRD schemas, authentication, persistence.
"""

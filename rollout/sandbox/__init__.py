"""A whole world on one machine: Kubernetes API, Envoy, Prometheus, a demo service and its users.

Belongs here: everything a release needs around it, on 127.0.0.1 and without a cluster. Does not belong here: the
controller; it meets this world as it meets any cluster, through a kubeconfig and a Prometheus URL.
"""

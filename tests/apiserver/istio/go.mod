// Where Istio's CRDs come from. A module of its own: its requirements must not choose versions for kube-apiserver.
module rollout.dev/tests/apiserver/istio

go 1.24.0

require istio.io/api v1.28.0

#!/usr/bin/env bash
# Builds what the tests need for a real Kubernetes API, once: scripts/kubernetes.sh CACHE
# etcd, kube-apiserver and kube-controller-manager from the Go modules of tests/apiserver/go.mod, Istio's CRDs from
# those of tests/apiserver/istio/go.mod, all into CACHE/kubernetes-<version>/. What is there already stays, so a run
# that was stopped goes on where it was. $KUBEBUILDER_ASSETS is used instead of a build if it holds the three programs.
set -euo pipefail
cache=$1
modules=$(cd "$(dirname "$0")/../tests/apiserver" && pwd)

required() { # GO.MOD MODULE -> the version it asks for
  sed -nE "s#^(require)?[[:space:]]*$2 (v[^ ]+).*#\2#p" "$1" | head -1
}
version=$(required "$modules/go.mod" k8s.io/kubernetes)
istio=$(required "$modules/istio/go.mod" istio.io/api)
dir=$cache/kubernetes-$version
crds=$dir/istio-crds.yaml
programs=(etcd kube-apiserver kube-controller-manager)

part=""
trap 'rm -f "$part"' EXIT

has_all() { # DIRECTORY
  for program in "${programs[@]}"; do [ -x "$1/$program" ] || return 1; done
}

has_crds() { [ -f "$crds" ] && [ "$(head -1 "$crds")" = "# istio.io/api $istio" ]; }

need_go() {
  local says="make: building Kubernetes $version needs Go 1.21 or newer"
  if ! command -v go >/dev/null; then
    echo "$says, and there is no go on the PATH (https://go.dev/dl; Debian: apt-get install golang);" >&2
    echo "      or name a directory with ${programs[*]}: KUBEBUILDER_ASSETS=/path make kubernetes" >&2
    exit 1
  fi
  # From 1.21 on, go fetches the toolchain that go.mod asks for.
  local found
  found=$(GOTOOLCHAIN=local go env GOVERSION)
  if [ "$(printf '%s\n' go1.21 "$found" | sort -V | head -1)" != go1.21 ]; then
    echo "$says; this is $found" >&2
    exit 1
  fi
}

build() { # PROGRAM PACKAGE LDFLAGS
  [ -x "$dir/$1" ] && return
  echo "building $1 (once)" >&2
  local begun=$SECONDS
  part=$dir/.$1.$$
  (cd "$modules" && CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" go build -ldflags "-s -w $3" -o "$part" "$2")
  mv "$part" "$dir/$1"
  echo "built $1 in $((SECONDS - begun)) s" >&2
}

build_all() {
  local stamp=k8s.io/component-base/version major minor rest
  IFS=. read -r major minor rest <<<"${version#v}"
  # Without these the API server calls itself v0.0.0, and refuses what depends on its version.
  local flags="-X $stamp.gitVersion=$version -X $stamp.gitMajor=$major -X $stamp.gitMinor=$minor"
  flags+=" -X $stamp.gitTreeState=clean"
  build etcd go.etcd.io/etcd/server/v3 ""
  build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "$flags"
  build kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager "$flags"
}

fetch_crds() {
  echo "fetching Istio's CRDs ($istio)" >&2
  local module
  module=$(cd "$modules/istio" && go mod download -json istio.io/api | sed -nE 's/^[[:space:]]*"Dir": "(.*)",$/\1/p')
  part=$dir/.istio-crds.$$
  { echo "# istio.io/api $istio" && cat "$module/kubernetes/customresourcedefinitions.gen.yaml"; } >"$part"
  mv "$part" "$crds"
}

mkdir -p "$dir"
if [ -z "${KUBEBUILDER_ASSETS:-}" ] || ! has_all "$KUBEBUILDER_ASSETS"; then
  if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS does not hold all of ${programs[*]}: not used" >&2
  fi
  if ! has_all "$dir"; then
    need_go
    build_all
  fi
fi
if ! has_crds; then
  need_go
  fetch_crds
fi

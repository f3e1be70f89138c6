#!/usr/bin/env bash
# Makes sure that there is a prometheus binary: on the PATH, named by $ROLLOUT_PROMETHEUS, or Debian's through apt.
set -euo pipefail
if [ -n "${ROLLOUT_PROMETHEUS:-}" ]; then
  [ -x "$ROLLOUT_PROMETHEUS" ] && exit 0
  echo "make: ROLLOUT_PROMETHEUS=$ROLLOUT_PROMETHEUS is no executable file" >&2
  exit 1
fi
command -v prometheus >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
  echo "make: no prometheus on the PATH and no apt-get to install it; install Prometheus 2.40 or newer," >&2
  echo "      or name a binary: ROLLOUT_PROMETHEUS=/path/to/prometheus make …" >&2
  exit 1
fi
sudo=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
    echo "make: no prometheus on the PATH; install it first: sudo apt-get install prometheus" >&2
    exit 1
  fi
  sudo=(sudo -n)
fi
echo "installing Debian's prometheus (once)" >&2
# Only the binary is wanted: no service is started by the installation, and what is half unpacked is not left behind.
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${sudo[@]}" apt-get update -qq &&
  "${sudo[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus; } \
  >"$log" 2>&1; then
  tail -5 "$log" >&2
  echo "make: apt-get could not install prometheus; nothing was changed here. Install it by hand and run make again," >&2
  echo "      or name a binary: ROLLOUT_PROMETHEUS=/path/to/prometheus make …" >&2
  exit 1
fi
command -v prometheus >/dev/null

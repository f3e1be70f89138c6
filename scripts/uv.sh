#!/usr/bin/env bash
# Installs uv, which installs everything else from the lock file, into DIR: scripts/uv.sh DIR VERSION
set -euo pipefail
dir=$1 version=$2 python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null; then
  echo "make: no $python on the PATH; install Python 3.11 or newer (Debian: apt-get install python3 python3-venv)" >&2
  exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "make: $($python --version) is too old; rollout needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2
  exit 1
fi
# Half of an installation must not look like a whole one: build beside, then rename.
rm -rf "$dir.part"
mkdir -p "$(dirname "$dir")"
if ! "$python" -m venv "$dir.part" 2>/dev/null; then
  # Debian ships Python without ensurepip; its python3-venv package brings it.
  rm -rf "$dir.part"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Debian's python3-venv" >&2
    { apt-get update -qq && apt-get install -y -qq python3-venv; } >/dev/null
    "$python" -m venv "$dir.part"
  else
    echo "make: $python cannot create virtual environments; install them first: apt-get install python3-venv" >&2
    exit 1
  fi
fi
"$dir.part/bin/pip" install --quiet --disable-pip-version-check "uv==$version"
rm -rf "$dir"
mv "$dir.part" "$dir"

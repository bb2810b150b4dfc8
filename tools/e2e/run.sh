#!/bin/sh
# Runs the end-to-end tests, or with --long the long ones, in mount and pid namespaces of their own.
set -eu
cd "$(dirname "$0")/../.."
tests='tools/e2e/*.test.ts'
[ "${1:-}" = --long ] && tests='tools/e2e/long/*.test.ts'
if [ "$(id -u)" != 0 ]; then
  echo "end-to-end tests not run: they need root for namespaces, mounts and containerd" >&2
  exit 0
fi
exec tools/in-namespaces.sh node --conditions=@soci/source --test --test-concurrency=1 "$tests"

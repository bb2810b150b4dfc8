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
# The long ones want a real API server and a real kubelet; without them those tests say so and the others run.
if [ "${1:-}" = --long ] && [ -z "${SOCI_TEST_KUBE:-}" ] && kube=$(tools/kube/build.sh); then
  export SOCI_TEST_KUBE="$kube"
fi
exec tools/in-namespaces.sh node --conditions=@soci/source --test --test-concurrency=1 "$tests"

#!/bin/sh
# Runs the demo in mount and pid namespaces of its own, so that nothing is left behind however it ends.
set -eu
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
  echo "demo: root is needed to mount layers and to run containers: try sudo npm run demo" >&2
  exit 1
fi
exec tools/in-namespaces.sh node --conditions=@soci/source tools/demo/main.ts "$@"

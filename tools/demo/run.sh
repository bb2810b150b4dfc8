#!/bin/sh
# Runs the demo in mount and pid namespaces of its own: however it ends, also by Ctrl-C, no process and no mount is left, and then the scratch folder goes too.
set -eu
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
  echo "demo: root is needed to mount layers and to run containers: try sudo npm run demo" >&2
  exit 1
fi
mkdir -p tmp
scratch=$(mktemp -d "$PWD/tmp/demo-run-XXXXXX")
trap : INT TERM HUP
status=0
tools/in-namespaces.sh node --conditions=@soci/source tools/demo/main.ts "$scratch" || status=$?
rm -rf --one-file-system "$scratch"
exit "$status"

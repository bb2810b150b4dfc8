#!/bin/sh
# Runs the stack of docker-compose.yml as processes in mount, pid and network namespaces of their own: however it ends, also by Ctrl-C, nothing of it is left.
set -eu
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
  echo "stack: root is needed to mount layers and to run containers: try sudo npm run stack" >&2
  exit 1
fi
mkdir -p tmp
scratch=$(mktemp -d "$PWD/tmp/stack-run-XXXXXX")
trap : INT TERM HUP
status=0
PATH="$PWD/node_modules/.bin:$PATH" unshare --net tools/in-namespaces.sh sh -euc '
  ip link set lo up
  exec node --conditions=@soci/source tools/stack/main.ts "$@"' sh "$scratch" "$@" || status=$?
rm -rf --one-file-system "$scratch"
exit "$status"

#!/bin/sh
# Runs a command in mount and pid namespaces of its own: when it ends, however it ends, every process and mount it left ends with it.
# /run is a fresh tmpfs in there, so that containerd's shims and a containerd of the host do not meet.
set -eu
[ "$(id -u)" = 0 ] || { echo "in-namespaces: root is needed to make mount and pid namespaces" >&2; exit 77; }
exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc sh -eu -c 'mount -t tmpfs -o mode=755 tmpfs /run; exec "$@"' sh "$@"

#!/bin/sh
# The node of the compose stack: the snapshotter and containerd. It ends when either of them ends, and when it is told to.
set -eu
# On cgroup v2 containers can only be made below a group in which no process is.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p /sys/fs/cgroup/node
  while read -r pid; do echo "$pid" >/sys/fs/cgroup/node/cgroup.procs || :; done </sys/fs/cgroup/cgroup.procs
  sed 's/^/+/;s/ / +/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control || :
fi

snapshotter='' containerd=''
stop() {
  trap : TERM INT
  # containerd first: it may still ask the snapshotter for something.
  [ -z "$containerd" ] || kill "$containerd" 2>/dev/null || :
  [ -z "$containerd" ] || wait "$containerd" || :
  [ -z "$snapshotter" ] || kill "$snapshotter" 2>/dev/null || :
  [ -z "$snapshotter" ] || wait "$snapshotter" || :
}
trap 'stop; exit 0' TERM INT

/opt/soci/apps/snapshotter/bin/soci-snapshotter "$@" &
snapshotter=$!
containerd &
containerd=$!

# What ends by itself is an end of both, with a status that has the node started again.
while kill -0 "$snapshotter" 2>/dev/null && kill -0 "$containerd" 2>/dev/null; do
  sleep 1 &
  wait $! || :
done
stop
echo "node: containerd or the snapshotter has ended" >&2
exit 1

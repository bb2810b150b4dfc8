#!/bin/sh
# Becomes a process in a root of its own, as a container would be: a view of this machine's files that cannot be written to, what is mounted into it, and the rights that it is given.
# Called by container.ts within mount namespaces of its own: enter.sh ROOT RIGHTS PROGRAM ARG...  ROOT has `skeleton`, with a place for each mount, and `mounts`, a line for each: KIND SOURCE TARGET OPTIONS
set -eu
root=$1
rights=$2
shift 2
view=$root/view
mkdir -p "$view"
mount -t overlay overlay -o "ro,lowerdir=$root/skeleton:/" "$view"
for folder in proc sys dev; do mount --rbind "/$folder" "$view/$folder"; done
while read -r kind source target options; do
  # Within a tmpfs that is mounted here the skeleton is not to be seen.
  if [ ! -e "$view$target" ]; then
    if [ "$kind" = tmpfs ] || [ -d "$source" ]; then mkdir -p "$view$target"; else mkdir -p "$view${target%/*}" && : >"$view$target"; fi
  fi
  case $kind in
    bind)
      mount --bind "$source" "$view$target"
      [ "$options" = rw ] || mount -o "remount,bind,ro" "$view$target"
      ;;
    tmpfs) mount -t tmpfs -o "$options" tmpfs "$view$target" ;;
  esac
done <"$root/mounts"
cd "$view"
pivot_root . .
umount -l .
cd /
ulimit -c 0
# Word for word: the options are ours.
# shellcheck disable=SC2086
exec setpriv $rights -- "$@"

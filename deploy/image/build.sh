#!/bin/sh
# Builds the images of deploy/Dockerfile with buildah where there is no container engine, on a base made from Debian's packages instead of the pinned one:
#   deploy/image/build.sh [OUT [TARGET...]]
# OUT gets an OCI archive for each target (tmp/images/archives by default), as `ctr images import` takes it. What takes long is kept in tmp/images: the bases and the layers of earlier builds.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-tmp/images/archives}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- agent snapshotter registry-fetcher cri-proxy secret-syncer soci keys node

say() { echo "images: $*" >&2; }
for program in buildah debootstrap apt-get npm; do
  command -v "$program" >/dev/null || { say "$program is needed"; exit 77; }
done
[ "$(id -u)" = 0 ] || { say "root is needed"; exit 77; }

cache=$PWD/tmp/images
mkdir -p "$cache/run" "$out"
# One build at a time: they share what is kept.
exec 9>"$cache/lock"
flock 9
builda() { command=$1; shift; buildah --root "$cache/storage" --runroot "$cache/run" --storage-driver overlay "$command" "$@"; }
exists() { builda inspect --type image "$1" >/dev/null 2>&1; }

# The suite and mirror that this machine's own apt uses.
set_mirror() {
  mirror_line=$(apt-get indextargets --format '$(COMPONENT) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' | grep -E '^main [a-z]+ ' | head -n 1)
  suite=$(echo "$mirror_line" | cut -d' ' -f2)
  mirror=$(echo "$mirror_line" | cut -d' ' -f3)
}

# The smallest Debian with certificate authorities.
make_base() {
  set_mirror
  say "making a base of Debian $suite (about a minute, kept for the next time)"
  rootfs=$(mktemp -d "$cache/base-XXXXXX")
  if ! debootstrap --variant=minbase --include=ca-certificates "$suite" "$rootfs" "$mirror" >"$cache/debootstrap.log" 2>&1; then
    tail -n 5 "$cache/debootstrap.log" >&2
    rm -rf --one-file-system "$rootfs"
    exit 1
  fi
  rm -rf "$rootfs"/var/cache/apt/* "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/log/* "$rootfs"/usr/share/doc/* "$rootfs"/usr/share/man/* "$rootfs"/usr/share/locale/*
  container=$(builda from scratch)
  builda copy -q "$container" "$rootfs" / >/dev/null
  builda config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd /bin/sh "$container"
  builda commit -q --rm "$container" soci-base >/dev/null
  rm -rf --one-file-system "$rootfs"
}

# The base with the Node and npm of this machine, and the authorities that its packages are fetched under. No image that is kept is made from it.
make_builder() {
  say "making a builder from this machine's Node and npm"
  npm_folder=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
  node=$(PATH=/usr/local/bin:/usr/bin command -v node)
  container=$(builda from soci-base)
  builda copy -q "$container" "$(readlink -f "$node")" /usr/local/bin/node >/dev/null
  builda copy -q "$container" "$npm_folder" /usr/local/lib/node_modules/npm >/dev/null
  builda copy -q "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt >/dev/null
  builda config --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "$container"
  builda run --isolation chroot "$container" -- ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
  builda commit -q --rm "$container" soci-builder >/dev/null
}

exists soci-base || make_base
exists soci-builder || make_builder
npmrc=$(mktemp)
context=$(mktemp -d "$cache/context-XXXXXX")
trap 'rm -rf --one-file-system "$npmrc" "$context"' EXIT
echo "registry=$(npm config get registry)" >"$npmrc"
# One state of the sources for all targets, whatever is changed meanwhile: they share the stage that builds.
tar --create --exclude-vcs --exclude=node_modules --exclude=dist --exclude=.nx --exclude=./tmp . | tar --extract --directory "$context"
build() { # TARGET
  say "$1"
  builda build --quiet --layers --isolation chroot --pull-never --ignorefile "$context/deploy/Dockerfile.dockerignore" --secret "id=npmrc,src=$npmrc" \
    --build-arg BASE=localhost/soci-base --build-arg BUILDER=localhost/soci-builder \
    --file "$context/deploy/Dockerfile" --target "$1" --tag "soci/$1" "$context" >"$cache/build.log" 2>&1 || { tail -n 20 "$cache/build.log" >&2; exit 1; }
}

# By its name the stage that all share is kept for the next build, while what earlier builds left is not.
build build
for target in "$@"; do
  build "$target"
  rm -f "$out/$target.tar"
  builda push -q "soci/$target" "oci-archive:$out/$target.tar:docker.io/soci/$target:latest" >"$cache/build.log" 2>&1 || { tail -n 20 "$cache/build.log" >&2; exit 1; }
done
builda rm --all >/dev/null # of builds that were broken off
builda rmi --prune >/dev/null

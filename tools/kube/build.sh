#!/bin/sh
# Builds kube-apiserver and kubelet from their Go modules into a folder that is kept, and prints that folder. Seven minutes on two cores the first time, nothing after it.
# Needs Go and its module proxy. Exits with 77 where there is no Go.
set -eu
version=1.37.2
out="$(dirname "$(readlink -f "$0")")/../../tmp/kube-$version"
mkdir -p "$out"
out=$(readlink -f "$out")
if [ -x "$out/kube-apiserver" ] && [ -x "$out/kubelet" ]; then
  echo "$out"
  exit
fi
command -v go > /dev/null || { echo "tools/kube: no Go to build kube-apiserver and kubelet with" >&2; exit 77; }
echo "tools/kube: building kube-apiserver and kubelet $version, which takes some minutes and is done once" >&2
work=$(mktemp -d -p "$out")
trap 'rm -rf "$work"' EXIT
cd "$work"
# k8s.io/kubernetes requires its own parts as v0.0.0 and replaces them by folders, which only the main module may do: this module puts their published versions there.
parts=$(go list -m -f '{{.GoMod}}' "k8s.io/kubernetes@v$version")
{
  printf 'module kube\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$version"
  sed -nE "s#^[[:space:]]*(k8s.io/[a-z0-9-]+) => ./staging.*#\t\1 => \1 v0.${version#*.}#p" "$parts"
  echo ')'
} > go.mod
cat > programs.go << 'GO'
//go:build tools

package kube

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
GO
echo 'package kube' > kube.go
go mod tidy -e >&2 2> tidy.log || { cat tidy.log >&2; exit 1; }
CGO_ENABLED=0 go build -o "$work/" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubelet >&2
mv "$work/kube-apiserver" "$work/kubelet" "$out/"
echo "$out"

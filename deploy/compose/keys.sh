#!/bin/sh
# Makes what the services of the compose stack log in with, and gives each of them its own: keys of the bus, and certificate and login of the registry.
# What is there already stays. Arguments go to bus-keys, e.g. `rotate all`; what that made is then given out as well. Nothing that is printed is a secret.
set -eu
umask 077
keys=/keys
bus_keys() { node /opt/soci/tools/bus-keys/main.ts "$@"; }

# One file after another, each whole at any time, and none that was taken away: services look at them while they run.
give_out() { # FROM TO OWNER
  for file in "$1"/*; do
    cp "$file" "$2/.new"
    chown "$3" "$2/.new"
    mv -f "$2/.new" "$2/${file##*/}"
  done
  for file in "$2"/*; do [ -e "$1/${file##*/}" ] || rm -f "$file"; done
  own "$2" "$3"
}
own() { # FOLDER OWNER
  chmod 0700 "$1"
  chown "$2" "$1"
}

[ -e "$keys/deployment.json" ] || bus_keys init --dir "$keys" --topology host --node node --host nats --host 127.0.0.1 --listen 0.0.0.0:4222 --monitor 127.0.0.1:8222 --nats-path /keys
[ $# -eq 0 ] || bus_keys "$@" --dir "$keys"

give_out "$keys/nats" /for/nats 10005:10005
give_out "$keys/registry-fetcher" /for/registry-fetcher 10001:10001
give_out "$keys/cri-proxy" /for/cri-proxy 10002:10002
give_out "$keys/secret-syncer" /for/secret-syncer 10003:10003

registry=$keys/registry
if [ ! -e "$registry/done" ]; then
  rm -rf "$registry"
  mkdir -p "$registry/server" "$registry/ca" "$registry/login"
  cat >"$registry/openssl.cnf" <<EOF
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[server]
basicConstraints = CA:false
extendedKeyUsage = serverAuth
subjectAltName = DNS:registry, DNS:localhost, IP:127.0.0.1
EOF
  new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
  new_key "$registry/ca.key"
  new_key "$registry/server/tls.key"
  openssl req -x509 -new -key "$registry/ca.key" -subj '/CN=compose registry authority' -days 3650 -config "$registry/openssl.cnf" -extensions authority -out "$registry/ca/ca.crt"
  openssl req -new -key "$registry/server/tls.key" -subj /CN=registry -config "$registry/openssl.cnf" -out "$registry/tls.csr"
  openssl x509 -req -in "$registry/tls.csr" -CA "$registry/ca/ca.crt" -CAkey "$registry/ca.key" -set_serial 1 -days 3650 \
    -extfile "$registry/openssl.cnf" -extensions server -out "$registry/server/tls.crt" 2>/dev/null
  # Nobody has to issue a second certificate: without its key the authority is good for this one server.
  rm -f "$registry/ca.key" "$registry/tls.csr"
  password=$(openssl rand -hex 16)
  # By standard input: a command line can be read by every user.
  printf '%s\n' "$password" | htpasswd -niB soci | head -n 1 >"$registry/server/htpasswd"
  printf '{"auths":{"registry:5000":{"auth":"%s"}}}\n' "$(printf 'soci:%s' "$password" | openssl base64 -A)" >"$registry/login/config.json"
  chmod 0644 "$registry/ca/ca.crt"
  touch "$registry/done"
fi
give_out "$registry/server" /for/registry 10006:10006
give_out "$registry/login" /for/registry-login 10001:10001
give_out "$registry/ca" /for/registry-ca 0:0
chmod 0755 /for/registry-ca
chmod 0644 /for/registry-ca/ca.crt
own /for/registry-data 10006:10006
own /for/registry-fetcher-socket 10001:10001
own /for/cri-proxy-socket 10002:10002
echo "keys: each service has its own"

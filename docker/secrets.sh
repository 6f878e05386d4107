#!/bin/sh
# Creates the credentials of the programs: an authority, certificates, passwords, users, S3 keys. Nothing has a
# default, so nothing starts without this. All of it is in docker/secrets/ (SIGHTLINE_SECRETS sets another folder).
#
#   docker/secrets.sh cloud HOST [HOST ...]    on the cloud machine, once; HOST: a name or address that edges reach it at
#   docker/secrets.sh invite SITE              there, for each edge: makes docker/secrets/invitations/SITE.join.yaml
#   docker/secrets.sh remove SITE              there: removes an edge
#   docker/secrets.sh console                  there, at a cloud of a version without the console: what that needs
#   docker/secrets.sh edge FILE DEVICE         on the edge machine, once; FILE: its join file, DEVICE: a name
#   docker/secrets.sh demo                     for compose.demo.yaml: both on this machine
#
# It runs "sightline secrets" from the image sightline-broker, so it needs Docker and no Node. SIGHTLINE="npx sightline"
# runs an installed one instead.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
secrets=${SIGHTLINE_SECRETS:-$here/secrets}
image=${SIGHTLINE_IMAGE:-sightline-broker:${SIGHTLINE_VERSION:-0.1.0}}

verb=${1:-}
[ $# -eq 0 ] || shift
case "$verb:$#" in
  cloud:[1-9]* | invite:1 | remove:1 | console:0 | edge:2 | demo:0) ;;
  *)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2
    exit 64
    ;;
esac
mkdir -p "$secrets"
secrets=$(cd "$secrets" && pwd)
file=
if [ "$verb" = edge ]; then
  [ -f "$1" ] || { printf 'CONFIG_NOT_FOUND: join file %s not found. Create one on the cloud machine: docker/secrets.sh invite SITE\n' "$1" >&2; exit 66; }
  file=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
  shift
  set -- "$file" "$@"
fi
if [ -n "${SIGHTLINE:-}" ]; then exec $SIGHTLINE secrets "$verb" "$secrets" "$@" </dev/null; fi
# As root, whom no folder of this machine stops; paths are the same within, so that what is said of them is right.
exec docker run --rm --network none --read-only --user 0:0 -v "$secrets:$secrets" ${file:+-v "$file:$file:ro"} \
  "$image" secrets "$verb" "$secrets" "$@" </dev/null

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
#   docker/secrets.sh inference HOST [HOST ...]  on the machine with the inference server, once; HOST: as edges reach it.
#                                              Makes docker/secrets/invitations/inference.join.yaml
#   docker/secrets.sh servers FILE [FILE ...]  on an edge: its frames are looked at there; FILE: such a join file
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
  cloud:[1-9]* | inference:[1-9]* | servers:[1-9]* | invite:1 | remove:1 | console:0 | edge:2 | demo:0) ;;
  *)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2
    exit 64
    ;;
esac
mkdir -p "$secrets"
secrets=$(cd "$secrets" && pwd)
# Join files come first, each under its whole path, which is the same within the image.
files=0
case "$verb" in
  edge) files=1 from='cloud machine: docker/secrets.sh invite SITE' ;;
  servers) files=$# from='inference server: docker/secrets.sh inference HOST' ;;
esac
mounts=
count=$#
while [ $count -gt 0 ]; do
  argument=$1
  shift
  if [ $files -gt 0 ]; then
    [ -f "$argument" ] || { printf 'CONFIG_NOT_FOUND: join file %s not found. Create one on the %s\n' "$argument" "$from" >&2; exit 66; }
    argument=$(cd "$(dirname "$argument")" && pwd)/$(basename "$argument")
    mounts="$mounts
-v
$argument:$argument:ro"
    files=$((files - 1))
  fi
  set -- "$@" "$argument"
  count=$((count - 1))
done
if [ -n "${SIGHTLINE:-}" ]; then exec $SIGHTLINE secrets "$verb" "$secrets" "$@" </dev/null; fi
IFS='
'
set -f
# As root, whom no folder of this machine stops; paths are the same within, so that what is said of them is right.
exec docker run --rm --network none --read-only --user 0:0 -v "$secrets:$secrets" $mounts \
  "$image" secrets "$verb" "$secrets" "$@" </dev/null

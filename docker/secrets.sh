#!/bin/sh
# Makes what the programs know each other by: an authority, certificates, passwords, users, S3 keys. Nothing has a
# default, so nothing starts without this. It all lies in docker/secrets/ (SIGHTLINE_SECRETS names another folder).
#
#   docker/secrets.sh cloud HOST [HOST ...]    on the cloud machine, once; HOST: a name or an address that edges reach it by
#   docker/secrets.sh invite SITE              there, for each edge: makes docker/secrets/invitations/SITE, to be copied
#   docker/secrets.sh edge INVITATION DEVICE   on the edge machine, once; INVITATION: that folder, DEVICE: a name
#   docker/secrets.sh demo                     for compose.demo.yaml: both on this machine
#
# It runs "sightline" from the image sightline-broker, so it needs Docker and no Node. SIGHTLINE="npx sightline" runs an
# installed one instead.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
secrets=${SIGHTLINE_SECRETS:-$here/secrets}
image=${SIGHTLINE_IMAGE:-sightline-broker:${SIGHTLINE_VERSION:-0.1.0}}
user=1000:1000

say() { printf '%s\n' "$*"; }
fail() { code=$1 status=$2; shift 2; printf '%s: %s\n' "$code" "$*" >&2; exit "$status"; }
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# As root, whom no folder of this machine stops; paths are below the folder of secrets.
in_image() {
  docker run --rm -i --network none --read-only --user 0:0 -v "$secrets:/secrets" -w /secrets "$@"
}
sightline() {
  if [ -n "${SIGHTLINE:-}" ]; then (cd "$secrets" && $SIGHTLINE "$@" 3>&- </dev/null)
  else in_image "$image" "$@" </dev/null; fi
}
# What containers read belongs to the user that they run as.
hand_over() {
  if [ -n "${SIGHTLINE:-}" ]; then
    if [ "$(id -u)" = 0 ]; then (cd "$secrets" && chown -R "$user" "$@")
    elif [ "$(id -u):$(id -g)" != "$user" ]; then
      fail NOT_ALLOWED 77 "The images run as user 1000, and you are $(id -u): run this as root, or without SIGHTLINE."
    fi
  else in_image --entrypoint chown "$image" -R "$user" "$@" </dev/null; fi
}

check_name() {
  case $1 in
    '' | *[!A-Za-z0-9_-]*) fail NAME_INVALID 65 "\"$1\" is no name: letters, digits, dash and underscore." ;;
  esac
}
refuse_existing() {
  [ ! -e "$secrets/$1" ] || fail FILE_EXISTS 73 "$secrets/$1 is there already, and nothing is changed. To begin anew, move it away (what was made from it then no longer fits)."
}
# Everything is made in a folder beside, and put in place when it is whole: an interrupted run can be run again.
begin() {
  mkdir -p "$secrets"
  [ ! -e "$secrets/.new" ] || run_sh 'rm -rf .new' </dev/null
  mkdir "$secrets/.new"
}
put_in_place() { # COMMANDS
  run_sh "$1" </dev/null
}

authority() { # FOLDER
  sightline certs ca "$1" --name Sightline --days 7300 >/dev/null
}
server() { # FOLDER NAME DAYS HOST...
  folder=$1 name=$2 days=$3; shift 3
  for host in "$@"; do set -- "$@" --host "$host"; shift; done
  sightline certs server "$folder" "$name" --days "$days" "$@" >/dev/null
}

make_cloud() { # BASE EDGE_URL_HOST HOST...
  base=$1 address=$2; shift 2
  authority "$base/authority"
  # Clients of Sightline's own check the broker's: ten years. Browsers want the gallery's to be a year old at most.
  server "$base/authority" broker 3650 cloud-broker "$@"
  server "$base/authority" web 397 localhost "$@"
  mkdir -p "$secrets/$base/cloud/broker" "$secrets/$base/cloud/subscriber"
  add_user "$base/cloud/broker/users.yaml" subscriber --role subscriber >"$secrets/$base/cloud/subscriber/password"
  viewer=$(add_user "$base/cloud/subscriber/users.yaml" viewer --role viewer)
  access=$(random 10) secret=$(random 20)
  printf 'ROOT_ACCESS_KEY_ID=%s\nROOT_SECRET_ACCESS_KEY=%s\n' "$access" "$secret" >"$secrets/$base/cloud/s3.env"
  printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' "$access" "$secret" >"$secrets/$base/cloud/subscriber.env"
  copy "$base/authority/ca.pem" "$base/cloud/subscriber/ca.pem"
  move "$base/authority/broker" "$base/cloud/broker/server"
  move "$base/authority/web" "$base/cloud/subscriber/web"
  printf 'mqtts://%s:8883\n' "$address" | put "$base/authority/address"
}
# Prints the password. A user whom an interrupted run has made gets another one.
add_user() { # FILE NAME OPTION...
  added=0
  said=$(sightline users add "$@" --generate 2>&1 >"$secrets/.new/password") || added=$?
  if [ "$added" = 65 ]; then sightline users passwd "$1" "$2" --generate 2>/dev/null
  elif [ "$added" = 0 ]; then cat "$secrets/.new/password"
  else printf '%s\n' "$said" >&2; exit "$added"; fi
  rm -f "$secrets/.new/password"
}
# The authority's folder belongs to root where the image made it.
copy() { run_sh "cp '$1' '$2'"; }
move() { run_sh "mv '$1.pem' '$2.pem' && mv '$1.key' '$2.key'"; }
put() { run_sh "cat > '$1'"; }
run_sh() {
  if [ -n "${SIGHTLINE:-}" ]; then (cd "$secrets" && sh -c "umask 077; $1"); else in_image --entrypoint sh "$image" -c "umask 077; $1"; fi
}

make_invitation() { # BASE SITE INVITATION
  base=$1 site=$2 invitation=$3
  address=$(run_sh "cat '$base/authority/address'" </dev/null)
  mkdir -p "$secrets/$invitation"
  add_user "$base/cloud/broker/users.yaml" "edge-$site" --role bridge --site "$site" >"$secrets/$invitation/bridge.password"
  run_sh "cat '$base/authority/ca.pem'" </dev/null >"$secrets/$invitation/ca.pem"
  {
    printf 'SIGHTLINE_NAME=edge-%s\n' "$site"
    printf 'SIGHTLINE_BRIDGES__0__URL=%s\n' "$address"
    printf 'SIGHTLINE_BRIDGES__0__USERNAME=edge-%s\n' "$site"
  } >"$secrets/$invitation/bridge.env"
  printf '%s\n' "$site" >"$secrets/$invitation/site"
}

make_edge() { # BASE INVITATION DEVICE
  base=$1 invitation=$2 device=$3
  site=$(cat "$invitation/site")
  check_name "$site"
  mkdir -p "$secrets/$base/edge/broker" "$secrets/$base/edge/device"
  authority "$base/edge/authority"
  server "$base/edge/authority" broker 3650 edge-broker localhost
  add_user "$base/edge/broker/users.yaml" "$device" --role device --site "$site" >"$secrets/$base/edge/device/password"
  copy "$base/edge/authority/ca.pem" "$base/edge/device/ca.pem"
  move "$base/edge/authority/broker" "$base/edge/broker/server"
  cp "$invitation/ca.pem" "$secrets/$base/edge/broker/cloud-ca.pem"
  cp "$invitation/bridge.password" "$secrets/$base/edge/broker/bridge.password"
  cp "$invitation/bridge.env" "$secrets/$base/edge/broker.env"
  printf 'SIGHTLINE_SITE=%s\nSIGHTLINE_DEVICE=%s\nSIGHTLINE_BROKER__USERNAME=%s\n' "$site" "$device" "$device" >"$secrets/$base/edge/device.env"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  cloud)
    [ $# -gt 0 ] || fail USAGE 64 'Write: docker/secrets.sh cloud HOST, where HOST is the name or the address that edges reach this machine by.'
    refuse_existing cloud
    refuse_existing authority
    begin
    make_cloud .new "$1" "$@"
    hand_over .new/cloud/broker .new/cloud/subscriber
    put_in_place 'mv .new/authority authority && mv .new/cloud cloud && rmdir .new'
    say "Made: $secrets/cloud, and $secrets/authority (keep its ca.key safe)."
    say "Start:   docker compose -f docker/compose.cloud.yaml up -d"
    say "Gallery: https://$1:8443/ user viewer, password $viewer (said this once)"
    say "Next, for each edge: docker/secrets.sh invite SITE"
    ;;
  invite)
    [ $# -eq 1 ] || fail USAGE 64 'Write: docker/secrets.sh invite SITE.'
    check_name "$1"
    [ -e "$secrets/authority" ] || fail CERTIFICATE_NOT_FOUND 66 "There is no $secrets/authority: run docker/secrets.sh cloud HOST first."
    refuse_existing "invitations/$1"
    begin
    make_invitation . "$1" .new/invitation
    mkdir -p "$secrets/invitations"
    put_in_place "mv .new/invitation invitations/$1 && rmdir .new"
    say "Made: $secrets/invitations/$1. Copy it to the edge machine, and delete it here:"
    say "  scp -r $secrets/invitations/$1 USER@EDGE:invitation"
    say "There: docker/secrets.sh edge ~/invitation DEVICE"
    ;;
  edge)
    [ $# -eq 2 ] || fail USAGE 64 'Write: docker/secrets.sh edge INVITATION DEVICE.'
    [ -r "$1/site" ] && [ -r "$1/ca.pem" ] && [ -r "$1/bridge.password" ] && [ -r "$1/bridge.env" ] ||
      fail CONFIG_NOT_FOUND 66 "$1 is no invitation: it lacks site, ca.pem, bridge.password or bridge.env. docker/secrets.sh invite SITE makes one on the cloud machine."
    check_name "$2"
    refuse_existing edge
    invitation=$(cd "$1" && pwd)
    begin
    make_edge .new "$invitation" "$2"
    hand_over .new/edge/broker .new/edge/device
    put_in_place 'mv .new/edge edge && rmdir .new'
    say "Made: $secrets/edge. The invitation is used up: rm -r $invitation"
    say "Start: docker compose -f docker/compose.edge.yaml up -d"
    ;;
  demo)
    [ $# -eq 0 ] || fail USAGE 64 'Write: docker/secrets.sh demo.'
    refuse_existing demo
    begin
    make_cloud .new cloud-broker localhost
    make_invitation .new demo .new/invitation
    make_edge .new "$secrets/.new/invitation" testcard
    hand_over .new/cloud/broker .new/cloud/subscriber .new/edge/broker .new/edge/device
    rm -r "$secrets/.new/invitation"
    put_in_place 'mv .new demo'
    say "Made: $secrets/demo."
    say "Start:   docker compose -f docker/compose.demo.yaml up -d"
    say "Gallery: https://localhost:8443/ user viewer, password $viewer (said this once)"
    ;;
  *)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2
    exit 64
    ;;
esac

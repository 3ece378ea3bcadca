#!/bin/sh
# Installs from Debian's packages what the tests drive and this machine lacks: a browser and kubectl.
set -eu
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v kubectl >/dev/null 2>&1 || missing="$missing kubernetes-client"
[ -z "$missing" ] && exit 0
echo "==> installing$missing from Debian's packages"
SUDO=""
[ "$(id -u)" = 0 ] || SUDO="sudo"
command -v apt-get >/dev/null 2>&1 || { echo "please install by hand:$missing" >&2; exit 1; }
$SUDO apt-get update -qq
# shellcheck disable=SC2086 # a list of names
DEBIAN_FRONTEND=noninteractive $SUDO apt-get install -y -qq --no-install-recommends $missing >/dev/null

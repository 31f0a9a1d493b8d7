#!/bin/sh
# Runs on the host, for the variant with NetworkManager, which its package
# starts at boot.
set -eu
sh "${0%/*}"/systemd.sh "$1"

#!/bin/sh
# Runs on the host, for the variant that nothing in it gives a network.
set -eu
sh "${0%/*}"/systemd.sh "$1"

#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian packages that building and testing need, and says so. Does nothing when all are there.
set -eu
packages="gcc libc6-dev make cmake ninja-build pkg-config libjson-c-dev libutf8proc-dev libjpeg62-turbo-dev libpng-dev libwebp-dev libtiff-dev libavif-dev libavformat-dev libavcodec-dev libavutil-dev libswscale-dev libcurl4-openssl-dev libssl-dev ca-certificates libcmocka-dev"
case "${1:-}" in
    clang) packages="$packages clang libclang-rt-14-dev" ;;
    docs) packages="$packages doxygen" ;;
    format) packages="$packages clang-format" ;;
esac
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
echo "Installing Debian packages:$missing"
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null

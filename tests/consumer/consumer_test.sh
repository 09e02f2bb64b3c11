#!/bin/sh
# SPDX-License-Identifier: MIT
# consumer_test.sh <cmake> <build folder of silica> <C++ compiler>: installs silica into a fresh folder and builds
# and runs a program against it, by find_package and by pkg-config.
set -eu
cmake=$1 build=$2 compiler=$3
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$cmake" --install "$build" --prefix "$folder/silica" >"$folder/install.log"

echo "-- find_package"
"$cmake" -S "$here" -B "$folder/build" -DCMAKE_PREFIX_PATH="$folder/silica" -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_BUILD_TYPE=Release >"$folder/configure.log"
"$cmake" --build "$folder/build" >"$folder/build.log" || { cat "$folder/build.log"; exit 1; }
"$folder/build/consumer"

echo "-- pkg-config"
command -v pkg-config >/dev/null || { echo "pkg-config is missing"; exit 1; }
pc=$(find "$folder/silica" -name silica.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
# The prefix is the one of the installation, not the one that was configured.
flags=$(pkg-config --define-variable=prefix="$folder/silica" --static --cflags --libs silica)
# shellcheck disable=SC2086
"$compiler" -std=c++20 -O1 "$here/consumer.cpp" -o "$folder/consumer" $flags
LD_LIBRARY_PATH=$(dirname "$pc")/..${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$folder/consumer"

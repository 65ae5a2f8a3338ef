#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs into a temporary prefix and builds the minimal example against it, by pkg-config (shared and static) and by
# find_package: install.sh BUILD_DIR
set -eu
build=$1
here=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >/dev/null
libdir=$(dirname "$(find "$work/prefix" -name vlm.pc)")/..
export PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"
test -x "$work/prefix/bin/vlm"
test "$("$work/prefix/bin/vlm" --version)" = "vlm $(pkg-config --modversion vlm)"
# A C++ program may include the headers, too.
printf '#include <vlm/vlm.h>\n#include <vlm/extend.h>\nint main() { return vlm_version()[0] != 48; }\n' >"$work/a.cpp"
cc -std=c11 -x c "$here/examples/minimal.c" $(pkg-config --cflags vlm) -o "$work/shared" $(pkg-config --libs vlm)
cc -std=c11 "$here/examples/minimal.c" $(pkg-config --cflags vlm) -o "$work/static" "$libdir/libvlm.a" $(pkg-config --static --libs-only-l vlm | sed "s/-lvlm//")
cc -std=c11 -Wall -Wextra -Werror "$here"/examples/own_model/*.c $(pkg-config --cflags vlm) -o "$work/own_model" $(pkg-config --libs vlm) -lm
if command -v c++ >/dev/null; then c++ "$work/a.cpp" $(pkg-config --cflags --libs vlm) -o "$work/cpp" && "$work/cpp"; fi
mkdir "$work/project"
cat >"$work/project/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(vlm REQUIRED)
add_executable(found $here/examples/minimal.c)
target_link_libraries(found PRIVATE vlm::vlm)
END
cmake -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/project/build" >/dev/null
for program in "$work/shared" "$work/static" "$work/project/build/found"; do
    status=0
    "$program" no/such/dir no/such.png x 2>"$work/err" || status=$?
    test "$status" -eq 1
    grep -q 'no/such/dir: no such checkpoint directory' "$work/err"
done
status=0
"$work/own_model" no/such/dir x 2>"$work/err" || status=$?
test "$status" -eq 1
grep -q 'no/such/dir: no such checkpoint directory' "$work/err"
echo "installed, found and linked three ways"

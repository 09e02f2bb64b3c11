#!/bin/sh
# SPDX-License-Identifier: MIT
# structure_test.sh <root of the source tree>: what holds of the sources as text.
set -u
cd "$1" || exit 1
failed=0

# forbid <what> <lines of grep's output>
forbid() {
  if [ -n "$2" ]; then
    printf '%s:\n%s\n' "$1" "$2"
    failed=1
  fi
}

# includes_of <folder>...: file:line:include
includes_of() { grep -rnE '^[[:space:]]*#[[:space:]]*include' "$@" --include='*.h' --include='*.cpp' --include='*.inc'; }

[ -n "$(includes_of include src kernels)" ] || { echo "no sources found in $1"; exit 1; }

# The arrows point down: apps -> autograd -> ops -> core <- backends.
forbid "core includes a backend, ops or autograd" \
  "$(includes_of src/core | grep -E '["<](\.\./)*(src/)?(backends|ops|autograd)/')"
forbid "ops include a backend or autograd" \
  "$(includes_of src/ops | grep -E '["<](\.\./)*(src/)?(backends|autograd)/')"
forbid "autograd includes a backend" "$(includes_of src/autograd | grep -E '["<](\.\./)*(src/)?backends/')"
forbid "a backend includes ops or autograd" \
  "$(includes_of src/backends | grep -E '["<](\.\./)*(src/)?(ops|autograd)/')"
forbid "kernels include the library's inside" \
  "$(includes_of kernels | grep -E '["<](\.\./)*(src/)?(core|ops|autograd|backends)/')"

forbid "an oracle includes a kernel" \
  "$(includes_of check/oracle.h check/definitions.* check/row_oracle.h check/exact.h check/exact.cpp check/case.h | grep -E 'kernels/|reference' | grep -v kernels/ops.inc)"

# A backend does not know another.
for backend in src/backends/*/; do
  name=$(basename "$backend")
  forbid "backend $name includes another" \
    "$(includes_of "$backend" | grep -E '"(\.\./)*(src/)?backends/' | grep -vE "backends/$name/")"
done

# The public headers include themselves and the standard library, nothing else.
forbid "include/ includes what is not silica/ or the standard library" \
  "$(includes_of include | grep -vE '(#include "silica/[a-z_]+\.h"|#include <[a-z_]+>)$')"
for header in include/silica/*.h; do
  grep -q '^#pragma once' "$header" || forbid "no #pragma once" "$header"
done

forbid "README.md's example is not examples/readme.cpp" \
  "$(sed -n '/^```cpp$/,/^```$/p' README.md | sed '1d;$d' >"${TMPDIR:-/tmp}/readme.$$"
     sed 1d examples/readme.cpp | diff - "${TMPDIR:-/tmp}/readme.$$"; rm -f "${TMPDIR:-/tmp}/readme.$$")"

# Sources are what git knows; without git, what lies there.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  sources=$(git ls-files --cached --others --exclude-standard)
else
  sources=$(find . -path ./build -prune -o -path ./.deps -prune -o -type f -print)
fi
code=$(for file in $(printf '%s\n' "$sources" | grep -E '(\.(h|cpp|inc|cu|comp|sh|cmake|in)|CMakeLists\.txt)$'); do
  [ -f "$file" ] && printf '%s\n' "$file"
done)
[ -n "$code" ] || { echo "no code found in $1"; exit 1; }
# shellcheck disable=SC2086
forbid "no SPDX line" "$(grep -L 'SPDX-License-Identifier: MIT' $code)"

# Nothing may depend on where one machine keeps its files. The words are split so that this line is not found.
homes="/ho""me/|/ro""ot/|/wo""rk/|/Us""ers/|/m""nt/"
# shellcheck disable=SC2086
forbid "a path of one machine" "$(grep -nE "[\"' (=]($homes)" $code)"

# The flags of the exactness contract.
grep -q -e '-ffp-contract=off' cmake/SilicaTarget.cmake || forbid "contraction is not off" cmake/SilicaTarget.cmake
forbid "a flag that changes results" \
  "$(grep -nE -e '-ffast-math|-Ofast|-funsafe-math|-fassociative-math|-ffp-contract=(fast|on)' \
      CMakeLists.txt CMakePresets.json cmake/* src/*/* kernels/*/* 2>/dev/null)"

exit $failed

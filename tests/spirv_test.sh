#!/bin/sh
# SPDX-License-Identifier: MIT
# spirv_test.sh <spirv-val> <spirv-dis> <spirv-cross> <module>...: what holds of every shader.
set -u
val=$1 dis=$2 cross=$3
shift 3
failed=0
fault() {
  echo "$1"
  failed=1
}

for module in "$@"; do
  "$val" --target-env vulkan1.2 "$module" || fault "$module is not valid"

  # Each float operation must be decorated, or a driver may fuse it with another.
  loose=$("$dis" --raw-id "$module" | awk '
    $1 == "OpDecorate" && $3 == "NoContraction" { exact[$2] = 1 }
    $3 ~ /^Op(FAdd|FSub|FMul|FDiv)$/ && !exact[$1] { print $1, $3 }')
  [ -z "$loose" ] || fault "$module has arithmetic that may be contracted: $loose"

  # Metal has no double: a device whose fma is not fused is not an Apple one.
  case $module in *_emulated.spv) continue ;; esac
  "$cross" --msl --msl-version 20300 "$module" >/dev/null || fault "$module does not translate to Metal's language"
done
[ $# -gt 0 ] || fault "there are no modules"
exit $failed

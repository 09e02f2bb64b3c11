#!/bin/sh
# SPDX-License-Identifier: MIT
# vulkan_validation_test.sh <vulkan_test> <vulkan_backend_test>: runs them under the validation layer with
# synchronization validation, which must say nothing. SampledInputs is left out: the same commands on more data.
set -u
export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation
export VK_LAYER_ENABLES=VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for program in "$@"; do
  "$program" --gtest_filter='-*SampledInputs*' >"$log" 2>&1
  code=$?
  messages=$(grep -E 'VUID|SYNC-HAZARD|UNASSIGNED|Validation (Error|Warning)' "$log")
  if [ $code -ne 0 ] || [ -n "$messages" ]; then
    tail -n 60 "$log"
    echo "$program: code $code, $(printf '%s' "$messages" | grep -c .) messages"
    exit 1
  fi
done

# The layer is there and watches: it reports a hazard made on purpose.
"$2" --gtest_also_run_disabled_tests --gtest_filter='*HazardForTheValidationLayer' >"$log" 2>&1
if ! grep -q 'SYNC-HAZARD' "$log"; then
  tail -n 60 "$log"
  echo "the validation layer is missing or blind (Debian and Ubuntu: vulkan-validationlayers)"
  exit 1
fi

#!/bin/sh
# SPDX-License-Identifier: MIT
# fuzz_test.sh <safetensors_fuzz> <safetensors_seeds> [seconds]: feeds the reader for a minute, or as long as said. A
# crash, a sanitizer's report, a leak or an input that takes ten seconds fails, and the input is kept and named.
set -eu
fuzz=$1 seeds=$2 seconds=${3:-60}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/corpus"
"$seeds" "$folder/seeds"
"$fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
  -dict="$(dirname "$0")/safetensors.dict" "$folder/corpus" "$folder/seeds"

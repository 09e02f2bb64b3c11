#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Everything that needs an NVIDIA GPU, in one go: build, all tests on the device, all inputs of the
# elementwise functions, compute-sanitizer, speed beside PyTorch and Triton. Prints a short table; the logs go to $OUT.
#
#   tests/gpu_run.sh                 everything
#   tests/gpu_run.sh sanitize check  some of: build tests bench vulkan sanitize check
#
# The machine needs g++ 12 or newer, cmake, ninja, NVRTC; PyTorch with Triton for the peers. Where nothing can be installed,
# bring the packages along; on a Debian 12 machine of the same processor, in the root of the repository:
#
#   mkdir -p .deps && cd .deps && apt-get download libtbb-dev libtbb12 libtbbmalloc2 libtbbbind-2-5 libgtest-dev libcli11-dev libfmt-dev libfmt9 \
#     nlohmann-json3-dev libssl-dev libssl3 wamerican libvulkan-dev libvulkan1 glslang-tools && for p in *.deb; do dpkg -x $p root; done && rm *.deb
#
# (.deps belongs into .git/info/exclude; where there is a tool that carries ignored paths to the machine, name it.)
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-build/gpu}
build=${BUILD:-/tmp/silica-gpu}
mkdir -p "$out" "$build"
deps=$PWD/.deps/root/usr
export CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}
export SILICA_CACHE_DIR=$build/cache SILICA_REQUIRE_CUDA=1
configure=(-DCMAKE_BUILD_TYPE=Release -DSILICA_BUILD_EXAMPLES=OFF)
if [ -d "$deps" ]; then
  export LD_LIBRARY_PATH=$deps/lib/x86_64-linux-gnu:${LD_LIBRARY_PATH:-}
  export CPATH=$deps/include:$deps/include/x86_64-linux-gnu LIBRARY_PATH=$deps/lib/x86_64-linux-gnu
  configure+=(-DCMAKE_PREFIX_PATH="$deps" -DTBB_DIR="$deps/lib/x86_64-linux-gnu/cmake/TBB"
    -DOPENSSL_ROOT_DIR="$deps" -DOPENSSL_CRYPTO_LIBRARY="$deps/lib/x86_64-linux-gnu/libcrypto.so"
    -DOPENSSL_INCLUDE_DIR="$deps/include" -DSILICA_VULKAN_HEADERS="$deps/include"
    -DSILICA_GLSLANG="$deps/bin/glslangValidator")
fi
[ -f apps/silica/CMakeLists.txt ] || configure+=(-DSILICA_BUILD_APPS=OFF)
# The compiler library of a Python environment will do as well.
if ! ldconfig -p | grep -q libnvrtc && ! ls "$CUDA_HOME"/lib64/libnvrtc.so* >/dev/null 2>&1; then
  SILICA_LIBNVRTC=$(python3 - <<'PY'
import glob, site
found = [f for p in site.getsitepackages() for f in glob.glob(p + "/nvidia/**/libnvrtc.so.*", recursive=True) if "alt" not in f]
print(found[0] if found else "")
PY
)
  export SILICA_LIBNVRTC
fi

if ! ldconfig -p | grep -q libcublasLt && ! ls "$CUDA_HOME"/lib64/libcublasLt.so* >/dev/null 2>&1; then
  SILICA_LIBCUBLASLT=$(python3 - <<'PY'
import glob, site
found = [f for p in site.getsitepackages() for f in glob.glob(p + "/nvidia/**/libcublasLt.so.*", recursive=True)]
print(found[0] if found else "")
PY
)
  export SILICA_LIBCUBLASLT
fi

words=/usr/share/dict/american-english
[ -f "$words" ] || words=$deps/share/dict/american-english
report() { # name, status, text
  printf '%-34s %-4s %s\n' "$1" "$([ "$2" -eq 0 ] && echo ok || echo FAIL)" "$3" | tee -a "$out/summary"
}
step() { # name, seconds, command: the log goes to $out/name
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  timeout "$limit" "$@" >"$out/$name" 2>&1
  local status=$?
  report "$name" "$status" "$((SECONDS - start)) s; $(tail -n 1 "$out/$name" | cut -c1-110)"
  return "$status"
}

build() {
  step configure 60 cmake -S . -B "$build" -G Ninja "${configure[@]}" || { tail -n 20 "$out/configure"; exit 1; }
  step compile 240 cmake --build "$build" || { grep -E 'error|Error' "$out/compile" | head -n 20; exit 1; }
}

tests() {
  step kernels 120 "$build/tests/cuda/cuda_device_test"
  step fast 120 "$build/tests/cuda/cuda_fast_device_test"
  step network 120 "$build/tests/cuda/cuda_feed_forward_device_test"
  grep -E 'of the bound|becomes|loss after' "$out/fast"
  step suite 150 env SILICA_TEST_DEVICES=cuda ctest --test-dir "$build" --output-on-failure --parallel 6 \
    -E 'CudaCompile|CudaPtx|Emulat|consumer|cuda_device|FastDevice|FeedForwardDevice|FeedForwardOp|^Cuda\.|cli_test|[Vv]ulkan|spirv|Formulas.Acc'
  if [ -x "$build/apps/silica/silica" ]; then
    for device in cpu cuda; do
      step "train-$device" 60 "$build/apps/silica/silica" train --device "$device" --steps 50 --data "$words" --out "$build/$device.safetensors"
    done
    cmp "$build/cpu.safetensors" "$build/cuda.safetensors" >"$out/train-same" 2>&1
    report train-same $? "the weights after 50 steps, cpu and cuda"
  fi
}

# The Vulkan driver of the same GPU.
vulkan() {
  export SILICA_TEST_DEVICES=vulkan SILICA_VULKAN_DEVICE=${SILICA_VULKAN_DEVICE:-NVIDIA}
  step vulkan-devices 60 "$build/apps/silica/silica" devices
  step vulkan-kernels 150 "$build/tests/vulkan_test"
  step vulkan-backend 100 "$build/tests/vulkan_backend_test"
  step train-vulkan 60 "$build/apps/silica/silica" train --device vulkan --steps 50 --data "$words" --out "$build/vulkan.safetensors"
  cmp "$build/cpu.safetensors" "$build/vulkan.safetensors" >"$out/train-vulkan-same" 2>&1
  report train-vulkan-same $? "the weights after 50 steps, cpu and vulkan"
}

# All inputs of each elementwise op, on both backends. An op alone leaves most cores idle.
check() {
  local op
  for op in $(sed -n 's/^SILICA_[A-Z_]*(\([a-z_]*\),.*/\1/p' kernels/ops.inc) cast; do
    while [ "$(jobs -rp | wc -l)" -ge 7 ]; do wait -n; done
    step "all-inputs-$op" 900 env SILICA_VULKAN_DEVICE="${SILICA_VULKAN_DEVICE:-NVIDIA}" \
      "$build/apps/silica/silica" check --device cuda --device vulkan --exhaustive --op "$op" --op "${op}_backward" &
  done
  wait
}

# Every test that computes on a device, under each tool.
sanitize() {
  local sanitizer tool test
  sanitizer=$(command -v compute-sanitizer || ls "$CUDA_HOME"/bin/compute-sanitizer 2>/dev/null)
  [ -n "$sanitizer" ] || { report sanitizer 1 "compute-sanitizer is not installed"; return; }
  export SILICA_TEST_DEVICES=cuda
  for tool in memcheck racecheck initcheck synccheck; do
    for test in "$build"/tests/cuda/cuda_{device,feed_forward_device}_test "$build"/tests/{op_*,tape*,encoder,registry,threads}_test; do
      while [ "$(jobs -rp | wc -l)" -ge 12 ]; do wait -n; done
      step "$tool-$(basename "$test")" 400 "$sanitizer" --tool "$tool" --error-exitcode 9 --report-api-errors no --print-limit 5 \
        "$test" --gtest_brief=1 --gtest_filter='-*OutOfMemory*:*Fault*:*TrainingSteps*' &
    done
  done
  wait
}

bench() {
  local silica=$build/apps/silica/silica
  for _ in 1 2; do step first 60 "$silica" bench first --device cuda; done  # the second time from the disk cache
  step speed 240 "$silica" bench --device cuda --peers --plot "$out/speed.svg"
  cat "$out/first" "$out/speed" | tee -a "$out/summary"
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm,memory.total --format=csv,noheader | tee "$out/summary"
for part in "${@:-build}"; do "$part"; done
[ $# -gt 0 ] || { tests; bench; vulkan; sanitize; check; }
! grep -q FAIL "$out/summary"

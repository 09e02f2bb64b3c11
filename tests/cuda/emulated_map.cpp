// SPDX-License-Identifier: MIT
#include "emulated_kernels.h"

#include "kernels/cuda.h"

#define SILICA_VECTORS 1
namespace one {
#include "kernels/map/map.cu"
}
#undef SILICA_VECTORS
#define SILICA_VECTORS 2
namespace two {
#include "kernels/map/map.cu"
}
#undef SILICA_VECTORS
#define SILICA_VECTORS 4
namespace four {
#include "kernels/map/map.cu"
}

namespace silica::test {

#define ADD_TYPES(space, defines, op, ...) \
  kernels[defines "Map<" #op ", " #__VA_ARGS__ ">::run"] = emulated(&Map<op, __VA_ARGS__>::run);
#define ADD_ALL_TYPES(op)            \
  ADD_TYPES(space, DEFINES, op, F32) \
  ADD_TYPES(space, DEFINES, op, F16) \
  ADD_TYPES(space, DEFINES, op, BF16)
#define SILICA_UNARY(op, ...) ADD_ALL_TYPES(op##_map) ADD_ALL_TYPES(op##_backward_map)
#define SILICA_UNARY_LINEAR(op, ...) ADD_ALL_TYPES(op##_map)
#define SILICA_UNARY_SCALAR(op, ...) ADD_ALL_TYPES(op##_map)
#define SILICA_BINARY(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_LINEAR(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_SCALAR(op, ...) SILICA_UNARY(op)
#define ADD_EVERYTHING                           \
  ADD_ALL_TYPES(fill_map)                        \
  ADD_TYPES(space, DEFINES, cast_map, F32, F16)  \
  ADD_TYPES(space, DEFINES, cast_map, F32, BF16) \
  ADD_TYPES(space, DEFINES, cast_map, F16, F32)  \
  ADD_TYPES(space, DEFINES, cast_map, F16, BF16) \
  ADD_TYPES(space, DEFINES, cast_map, BF16, F32) \
  ADD_TYPES(space, DEFINES, cast_map, BF16, F16)

static void add_one(EmulatedKernels& kernels) {
  using namespace one;
#define DEFINES "#define SILICA_VECTORS 1\n"
#include "kernels/ops.inc"
  ADD_EVERYTHING
#undef DEFINES
}

static void add_two(EmulatedKernels& kernels) {
  using namespace two;
#define DEFINES "#define SILICA_VECTORS 2\n"
#include "kernels/ops.inc"
  ADD_EVERYTHING
#undef DEFINES
}

static void add_four(EmulatedKernels& kernels) {
  using namespace four;
#define DEFINES "#define SILICA_VECTORS 4\n"
#include "kernels/ops.inc"
  ADD_EVERYTHING
#undef DEFINES
}

void add_emulated_map(EmulatedKernels& kernels) {
  add_one(kernels);
  add_two(kernels);
  add_four(kernels);
  kernels["copy_bytes"] = emulated(&one::copy_bytes);
  kernels["zero_bytes"] = emulated(&one::zero_bytes);
}

}  // namespace silica::test

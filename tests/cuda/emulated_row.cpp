// SPDX-License-Identifier: MIT
#include "emulated_kernels.h"

#include "kernels/row/row.cu"

namespace silica::test {

template <class Team> static void add_team(EmulatedKernels& kernels, const std::string& name) {
  const std::string suffix = "<" + name + ">";
  kernels["rms_norm" + suffix] = emulated(&rms_norm<Team>);
  kernels["rms_norm_scale" + suffix] = emulated(&rms_norm_scale<Team>);
  kernels["rms_norm_backward" + suffix] = emulated(&rms_norm_backward<Team>);
  kernels["mean" + suffix] = emulated(&mean<Team>);
  kernels["cross_entropy" + suffix] = emulated(&cross_entropy<Team>);
  kernels["cross_entropy_backward" + suffix] = emulated(&cross_entropy_backward<Team>);
}

void add_emulated_row(EmulatedKernels& kernels) {
  add_team<WarpTeam>(kernels, "WarpTeam");
  add_team<BlockTeam>(kernels, "BlockTeam");
  kernels["rms_norm_backward_weight"] = emulated(&rms_norm_backward_weight);
}

}  // namespace silica::test

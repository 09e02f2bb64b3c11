// SPDX-License-Identifier: MIT
#include "bench/peers.h"

namespace silica::bench {

#if !defined(SILICA_ONEDNN)
void add_onednn(Peers& peers, const Device&) {
  peers.missing.emplace_back("oneDNN: built without it (libdnnl-dev, -DSILICA_BENCH_PEERS=ON)");
}
#endif

#if !defined(SILICA_OPENBLAS)
void add_openblas(Peers& peers, const Device&, unsigned) {
  peers.missing.emplace_back("OpenBLAS: built without it (libopenblas-dev, -DSILICA_BENCH_PEERS=ON)");
}
#endif

#if !defined(SILICA_XNNPACK)
void add_xnnpack(Peers& peers, const Device&, unsigned) {
  peers.missing.emplace_back("XNNPACK: built without it (libxnnpack-dev, -DSILICA_BENCH_PEERS=ON)");
}
#endif

Peers find_peers(const Device& device, unsigned threads) {
  Peers peers;
  const bool cpu = device.name().starts_with("cpu");
  if (cpu) {
    add_onednn(peers, device);
    add_openblas(peers, device, threads);
    add_xnnpack(peers, device, threads);
  }
  if (cpu || device.name().starts_with("cuda")) {
    add_python(peers, device, threads);
  } else {
    peers.missing.push_back(device.name() + ": no peer runs on Vulkan");
  }
  return peers;
}

std::vector<std::pair<std::string, std::string>> environment_of_peers(unsigned threads) {
  const std::string count = std::to_string(threads);
  return {{"OMP_WAIT_POLICY", "PASSIVE"}, {"OMP_NUM_THREADS", count}, {"OPENBLAS_NUM_THREADS", count}};
}

}  // namespace silica::bench

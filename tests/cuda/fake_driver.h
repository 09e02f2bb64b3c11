// SPDX-License-Identifier: MIT
#pragma once

extern "C" {

struct FakeCounts {
  long launches, graph_launches, edges, nodes;
  long allocations;      // of device memory, now
  long objects;          // streams, events, modules, graphs, ..., now
  long contexts_pushed;  // and not popped
};

void fake_reset();  // forgets calls, failures and a lost device
void fake_fail_next(const char* entry, int error);
FakeCounts fake_counts();
long fake_calls(const char* entry);  // how often it was called
bool fake_capturing(const void* stream);
void fake_set_elapsed(float milliseconds);  // between any two events
}

// SPDX-License-Identifier: MIT
// Recording: stages, temporaries, refusals, lists.
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>

#include "core/program.h"
#include "support.h"

namespace silica::test {
namespace {

class Encoder : public DeviceTest {
 protected:
  Tensor tensor(std::size_t n = 64, DType dtype = DType::f32) { return Tensor(device(), dtype, {n}); }
  std::size_t stages(const std::function<void(CommandEncoder&)>& encode) {
    CommandEncoder encoder(device());
    encode(encoder);
    return encoder.finish().stages();
  }
};

// ---- stages

TEST_P(Encoder, IndependentCommandsShareAStage) {
  const Tensor x = tensor(), a = tensor(), b = tensor(), c = tensor();
  EXPECT_EQ(stages([&](CommandEncoder& e) { silu(e, x, a), silu(e, x, b), add(e, x, x, c); }), 1u);
  EXPECT_EQ(stages([&](CommandEncoder& e) {
              silu(e, x.rows(0, 32), a.rows(0, 32)), silu(e, x.rows(32, 32), a.rows(32, 32));
            }),
            1u);
}

TEST_P(Encoder, TheDeviceOutlivesTheRecordingThatItCameFrom) {
  const Tensor x = tensor(), a = tensor();
  CommandEncoder encoder(device());
  silu(encoder, x, a);
  encoder.device().submit(encoder.finish()).wait();
}

TEST_P(Encoder, ReadAfterWriteBeginsAStage) {
  const Tensor x = tensor(), a = tensor(), b = tensor();
  EXPECT_EQ(stages([&](CommandEncoder& e) { silu(e, x, a), silu(e, a, b); }), 2u);
  EXPECT_EQ(stages([&](CommandEncoder& e) { silu(e, x, a), silu(e, a.rows(63, 1), b.rows(0, 1)); }), 2u);
}

TEST_P(Encoder, WriteAfterReadBeginsAStage) {
  const Tensor x = tensor(), a = tensor();
  EXPECT_EQ(stages([&](CommandEncoder& e) { silu(e, x, a), fill(e, 1.0f, x); }), 2u);
}

TEST_P(Encoder, WriteAfterWriteBeginsAStage) {
  const Tensor x = tensor(), a = tensor();
  EXPECT_EQ(stages([&](CommandEncoder& e) { silu(e, x, a), fill(e, 1.0f, a.rows(10, 3)); }), 2u);
}

TEST_P(Encoder, AHazardWithAnEarlierCommandOfTheStageIsSeen) {
  const Tensor x = tensor(), a = tensor(), b = tensor(), c = tensor(), d = tensor();
  EXPECT_EQ(stages([&](CommandEncoder& e) {
              silu(e, x, a);
              silu(e, x, b);
              silu(e, x, c);
              silu(e, a, d);  // conflicts with the first of the stage
              silu(e, x, a);  // and this with the fourth
            }),
            3u);
}

TEST_P(Encoder, AnEmptyListRunsAndHasNoStages) {
  CommandEncoder encoder(device());
  const CommandList list = encoder.finish();
  EXPECT_EQ(list.commands(), 0u);
  EXPECT_EQ(list.stages(), 0u);
  EXPECT_EQ(list.temporary_bytes(), 0u);
  device().submit(list).wait();
}

// Stages against their definition, on random lists.
TEST_P(Encoder, NoStageHasAConflictAndNoBarrierIsIdle) {
  Random random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<Tensor> pool;
    for (int i = 0; i < 5; ++i) pool.push_back(tensor(32));
    CommandEncoder encoder(device());
    for (int i = 0; i < 30; ++i) {
      const std::size_t from = random.below(5), to = random.below(5), n = random.between(1, 16);
      if (from == to) continue;
      silu(encoder, pool[from].rows(random.below(16), n), pool[to].rows(random.below(16), n));
    }
    const CommandList list = encoder.finish();
    const Program& program = *list.program();
    const auto conflict = [&](std::size_t i, std::size_t j) {
      for (const MemoryRange& a : program.commands[i].operands) {
        for (const MemoryRange& b : program.commands[j].operands) {
          if (a.storage == b.storage && a.begin < b.end && b.begin < a.end && (a.writes || b.writes))
            return true;
        }
      }
      return false;
    };
    std::size_t begin = 0;
    for (const std::size_t end : program.stage_ends) {
      bool needed = end == program.commands.size();
      for (std::size_t i = begin; i < end; ++i) {
        for (std::size_t j = begin; j < i; ++j) ASSERT_FALSE(conflict(j, i));
        needed = needed || conflict(i, end);
      }
      ASSERT_TRUE(needed);
      begin = end;
    }
    ASSERT_EQ(begin, program.commands.size());
  }
}

// ---- temporaries

TEST_P(Encoder, AChainOfTemporariesTakesTheMemoryOfTwo) {
  constexpr std::size_t n = 1024;
  const Tensor x = make(device(), Random(1).floats(n)), y(device(), DType::f32, {n});
  CommandEncoder encoder(device());
  Tensor last = x;
  for (int i = 0; i < 10; ++i) {
    const Tensor next = encoder.temporary(DType::f32, {n});
    silu(encoder, last, next);
    last = next;
  }
  silu(encoder, last, y);
  const CommandList list = encoder.finish();
  EXPECT_EQ(list.temporary_bytes_unpacked(), 10 * n * sizeof(float));
  EXPECT_EQ(list.temporary_bytes(), 2 * n * sizeof(float));
}

TEST_P(Encoder, UnusedTemporariesTakeNothing) {
  CommandEncoder encoder(device());
  const Tensor unused = encoder.temporary(DType::f32, {1'000'000});
  fill(encoder, 1.0f, tensor());
  EXPECT_EQ(encoder.finish().temporary_bytes(), 0u);
}

TEST_P(Encoder, TemporariesReadAsZeroWhereNothingWroteThem) {
  constexpr std::size_t n = 100;
  const Tensor junk = make(device(), std::vector<float>(n, 7.0f)), y = tensor(n), z = tensor(n),
               w = tensor(n);
  CommandEncoder encoder(device());
  const auto dirty = [&] {  // leaves 7s wherever the next temporary will lie
    const Tensor t = encoder.temporary(DType::f32, {n});
    copy(encoder, junk, t);
    copy(encoder, t, w);
  };
  dirty();
  const Tensor unwritten = encoder.temporary(DType::f32, {n});
  copy(encoder, unwritten, y);
  dirty();
  const Tensor in_part = encoder.temporary(DType::f32, {n});
  fill(encoder, 3.0f, in_part.rows(20, 30));
  copy(encoder, in_part, z);
  dirty();
  const Tensor summed = encoder.temporary(DType::f32, {n});
  add(encoder, summed, junk, summed);  // reads it in place before anything wrote it
  copy(encoder, summed, w);
  const CommandList list = encoder.finish();
  EXPECT_LT(list.temporary_bytes(), list.temporary_bytes_unpacked()) << "or this tests nothing";
  for (int i = 0; i < 3; ++i) {
    device().submit(list).wait();
    EXPECT_EQ(get(y), std::vector<float>(n));
    std::vector<float> want(n);
    std::fill_n(want.begin() + 20, 30, 3.0f);
    EXPECT_EQ(get(z), want);
    EXPECT_EQ(get(w), std::vector<float>(n, 7.0f));
  }
}

// A command that names its output first must not be taken to have written what it then reads.
TEST_P(Encoder, ATemporaryThatIsReadAndWrittenInPlaceByItsFirstCommandIsCleared) {
  if (device().name() != "cpu") GTEST_SKIP() << "the kernel has a CPU source only";
  struct Arguments {
    float* y;
    const float* x;
    std::uint64_t n;
  };
  const auto increment = [](const void* arguments, Groups) {
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    for (std::uint64_t i = 0; i < a.n; ++i) a.y[i] = a.x[i] + 1.0f;
  };
  device().kernels().add("user.increment.f32", {.cpu = {increment, {1}}});
  const Tensor junk = make(device(), std::vector<float>(64, 7.0f)), y = tensor();
  CommandEncoder encoder(device());
  const Tensor first = encoder.temporary(DType::f32, {64}), second = encoder.temporary(DType::f32, {64});
  copy(encoder, junk, first);
  copy(encoder, first, y);
  encoder.dispatch("user.increment.f32", {in_place(second, "y"), read(second, "x")}, std::uint64_t{64},
                   Grid{1});
  copy(encoder, second, y);
  device().submit(encoder.finish()).wait();
  EXPECT_EQ(get(y), std::vector<float>(64, 1.0f));
}

// Where every temporary lies, from the arguments of the commands that use it.
struct Place {
  std::uint64_t begin = 0, end = 0;
  std::size_t first_stage = 0, last_stage = 0;
};

std::map<const Storage*, Place> places_of(const Program& program) {
  std::map<const Storage*, Place> places;
  std::size_t stage = 0;
  for (std::size_t i = 0; i < program.commands.size(); ++i) {
    if (i == program.stage_ends[stage]) ++stage;
    const Command& command = program.commands[i];
    for (std::size_t k = 0; k < command.operands.size(); ++k) {
      const MemoryRange& range = command.operands[k];
      if (!range.storage->temporary()) continue;
      std::uint64_t address = 0;
      std::memcpy(&address, command.arguments.data() + k * sizeof address, sizeof address);
      const std::uint64_t begin = address - range.begin;
      const auto [found, is_new] =
          places.try_emplace(range.storage.get(), Place{begin, begin + range.storage->bytes(), stage, stage});
      EXPECT_EQ(found->second.begin, begin) << "a temporary has one place";
      found->second.last_stage = stage;
    }
  }
  return places;
}

void expect_no_live_temporaries_share(const Program& program) {
  const auto places = places_of(program);
  for (const auto& [storage, place] : places) {
    ASSERT_TRUE(program.arena);
    EXPECT_EQ(place.begin % 64, 0u);
    EXPECT_GE(place.begin, program.arena->memory().address);
    EXPECT_LE(place.end, program.arena->memory().address + program.arena->bytes());
    for (const auto& [other_storage, other] : places) {
      if (storage == other_storage) continue;
      const bool both_live = place.first_stage <= other.last_stage && other.first_stage <= place.last_stage;
      const bool share = place.begin < other.end && other.begin < place.end;
      ASSERT_FALSE(both_live && share);
    }
  }
}

// Random lists, encoded once with temporaries and once with plain tensors in their place.
TEST_P(Encoder, PackingChangesNoResultAndSharesNoLiveMemory) {
  bool packed = false;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const Tensor x = make(device(), Random(seed).floats(500)), out[2] = {tensor(600), tensor(600)};
    CommandList lists[2] = {CommandList(nullptr), CommandList(nullptr)};
    for (const bool temporaries : {false, true}) {
      Random random(seed);
      CommandEncoder e(device());
      std::vector<Tensor> pool = {x};
      for (int i = 0; i < 40; ++i) {
        const std::size_t n = random.between(1, 500), way = random.below(4), pick = random.below(pool.size());
        const Tensor from = pool[pick].rows(0, std::min(n, pool[pick].size()));
        const Shape shape{from.size() + random.below(3) * 50};
        const Tensor to = temporaries ? e.temporary(DType::f32, shape) : Tensor(device(), DType::f32, shape);
        if (way == 0)
          add(e, from, to.rows(0, from.size()), to.rows(0, from.size()));  // reads what was not written
        if (way != 0) silu(e, from, to.rows(shape.size() - from.size(), from.size()));
        pool.push_back(to);
        if (pool.size() > 6) pool.erase(pool.begin() + 1 + static_cast<std::ptrdiff_t>(random.below(5)));
      }
      std::size_t at = 0;
      for (std::size_t i = 1; i < pool.size(); ++i) {
        const std::size_t n = std::min<std::size_t>(pool[i].size(), 100);
        copy(e, pool[i].rows(0, n), out[temporaries].rows(at, n));
        at += n;
      }
      lists[temporaries] = e.finish();
    }
    expect_no_live_temporaries_share(*lists[1].program());
    packed = packed || lists[1].temporary_bytes() < lists[1].temporary_bytes_unpacked();
    device().submit(lists[0]).wait();
    for (int i = 0; i < 2; ++i) {
      device().submit(lists[1]).wait();
      ASSERT_TRUE(same_bits(get(out[1]), get(out[0]))) << "seed " << seed;
    }
  }
  EXPECT_TRUE(packed);
}

TEST_P(Encoder, TemporariesOfOthersAreRefused) {
  CommandEncoder mine(device()), other(device());
  const Tensor y = tensor(), foreign = other.temporary(DType::f32, {64});
  EXPECT_TRUE(
      refuses_op(mine, {"silu", "x", "temporary of another encoder"}, [&] { silu(mine, foreign, y); }));
  const Tensor own = mine.temporary(DType::f32, {64});
  silu(mine, own, y);
  mine.finish();
  EXPECT_TRUE(refuses_op(mine, {"silu", "y", "finished"}, [&] { silu(mine, y, own); }));
  EXPECT_TRUE(refuses({"upload", "temporary"}, [&] { foreign.upload(std::vector<float>(64)); }));
  EXPECT_TRUE(refuses({"download", "temporary"}, [&] { foreign.download<float>(); }));
}

TEST_P(Encoder, AMovedEncoderGoesOn) {
  CommandEncoder first(device());
  const Tensor y = tensor(), t = first.temporary(DType::f32, {64});
  fill(first, 2.0f, t);
  CommandEncoder second = std::move(first);
  copy(second, t, y);
  device().submit(second.finish()).wait();
  EXPECT_EQ(get(y), std::vector<float>(64, 2.0f));
}

// ---- refusals

// What was moved from is refused with a message, not followed to nowhere.
TEST_P(Encoder, EmptyHandlesAreRefused) {
  const Tensor x = tensor();
  CommandEncoder encoder(device()), owner = std::move(encoder);
  EXPECT_TRUE(refuses({"encoder", "moved from"}, [&] { encoder.device(); }));
  EXPECT_TRUE(refuses({"encoder", "moved from"}, [&] { encoder.commands(); }));
  EXPECT_TRUE(refuses({"encoder", "moved from"}, [&] { encoder.temporary(DType::f32, {4}); }));
  EXPECT_TRUE(refuses({"encoder", "moved from"}, [&] { silu(encoder, x, x); }));
  EXPECT_TRUE(refuses({"encoder", "moved from"}, [&] { encoder.finish(); }));
  EXPECT_TRUE(refuses({"encoder", "moved from"}, [&] { CommandEncoder::Transaction transaction(encoder); }));
  {
    Tape tape(encoder);
    const Variable variable = tape.variable(x);
    EXPECT_TRUE(refuses({"encoder", "moved from"}, [&] { silu(variable); }));
  }
  {
    CommandEncoder::Transaction transaction(owner);  // outlives what it would undo
    encoder = std::move(owner);
  }
  silu(encoder, x, x);

  CommandList list = encoder.finish(), taken = std::move(list);
  for (const CommandList& none : {list, CommandList(nullptr)}) {
    EXPECT_TRUE(refuses({"command list"}, [&] { none.commands(); }));
    EXPECT_TRUE(refuses({"command list"}, [&] { none.stages(); }));
    EXPECT_TRUE(refuses({"command list"}, [&] { none.temporary_bytes(); }));
    EXPECT_TRUE(refuses({"command list"}, [&] { none.temporary_bytes_unpacked(); }));
    EXPECT_TRUE(refuses({"command list"}, [&] { device().submit(none); }));
  }
  Fence fence = device().submit(taken);
  const Fence moved = std::move(fence);
  moved.wait();
  EXPECT_TRUE(refuses({"fence"}, [&] { fence.wait(); }));
  EXPECT_TRUE(refuses({"fence"}, [&] { Fence(nullptr).done(); }));

  Device copy = device();
  const Device kept = std::move(copy);
  EXPECT_TRUE(refuses({"device", "moved from"}, [&] { copy.info(); }));
  EXPECT_TRUE(refuses({"device", "moved from"}, [&] { copy.memory(); }));
  EXPECT_TRUE(refuses({"device", "moved from"}, [&] { copy.kernels(); }));
  EXPECT_TRUE(refuses({"device", "moved from"}, [&] { Tensor(copy, DType::f32, {4}); }));
  EXPECT_TRUE(refuses({"device", "moved from"}, [&] { CommandEncoder{copy}; }));
}

TEST_P(Encoder, ArgumentsThatDoNotFitAreRefused) {
  if (device().name() != "cpu") GTEST_SKIP() << "the kernel has a CPU source only";
  device().kernels().add("user.nothing.f32", {.cpu = {[](const void*, Groups) {}, {1}}});
  CommandEncoder encoder(device());
  const Tensor x = tensor();
  const std::vector<std::byte> most(max_argument_bytes - 8), more(max_argument_bytes - 7);
  const Operand operand = read_write(x, "x");
  const auto dispatch = [&](std::span<const Operand> operands, std::span<const std::byte> parameters) {
    encoder.dispatch_bytes("user.nothing.f32", operands, parameters, Grid{1});
  };
  dispatch({&operand, 1}, most);
  EXPECT_EQ(encoder.commands(), 1u);
  EXPECT_TRUE(refuses_op(encoder, {"nothing", "129", "128"}, [&] { dispatch({&operand, 1}, more); }));
  const std::vector<Operand> many(17, read(x, "x"));
  EXPECT_TRUE(refuses_op(encoder, {"nothing", "17", "136", "128"}, [&] { dispatch(many, {}); }));
  device().submit(encoder.finish()).wait();
}

TEST_P(Encoder, TensorsAndListsOfAnotherDeviceAreRefused) {
  const Device other = Device::open(GetParam());
  CommandEncoder encoder(device());
  const Tensor mine = tensor(), theirs(other, DType::f32, {64});
  EXPECT_TRUE(refuses_op(encoder, {"silu", "x", "another device"}, [&] { silu(encoder, theirs, mine); }));
  EXPECT_TRUE(refuses_op(encoder, {"silu", "y", "another device"}, [&] { silu(encoder, mine, theirs); }));
  silu(encoder, mine, tensor());
  const CommandList list = encoder.finish();
  EXPECT_TRUE(refuses({"submit", "another device"}, [&] { other.submit(list); }));
  device().submit(list).wait();
}

TEST_P(Encoder, ARefusedDispatchLeavesTheTemporariesAsTheyWere) {
  const Tensor junk = make(device(), std::vector<float>(64, 7.0f)), y = tensor(), z = tensor();
  CommandEncoder encoder(device());
  const Tensor before = encoder.temporary(DType::f32, {64}), t = encoder.temporary(DType::f32, {64});
  copy(encoder, junk, before);
  copy(encoder, before, z);
  EXPECT_TRUE(
      refuses_op(encoder, {"silu", "overlaps"}, [&] { silu(encoder, t.rows(0, 32), t.rows(16, 32)); }));
  EXPECT_TRUE(refuses_op(encoder, {"silu"}, [&] { silu(encoder, t, tensor(63)); }));
  EXPECT_TRUE(refuses_op(encoder, {"no such"},
                         [&] { encoder.dispatch("no such", {read(t, "t"), write(y, "y")}, 0, Grid{1}); }));
  copy(encoder, t, y);  // still its first use: cleared
  device().submit(encoder.finish()).wait();
  EXPECT_EQ(get(y), std::vector<float>(64));
}

TEST_P(Encoder, AbsurdTemporariesAreOutOfMemoryAndTheEncoderIsUnchanged) {
  constexpr std::size_t absurd = std::size_t{1} << 58;
  const Tensor y = tensor();
  {
    CommandEncoder encoder(device());
    const Tensor huge = encoder.temporary(DType::f32, {absurd});
    fill(encoder, 1.0f, huge);
    fill(encoder, 5.0f, y);
    EXPECT_TRUE(throws(ErrorCode::out_of_memory, {}, [&] { encoder.finish(); }));
    EXPECT_EQ(encoder.commands(), 2u);
    copy(encoder, huge.rows(0, 64), y);  // its temporaries are still its own
    EXPECT_TRUE(throws(ErrorCode::out_of_memory, {}, [&] { encoder.finish(); }));
    EXPECT_EQ(encoder.commands(), 3u);
  }
  CommandEncoder encoder(device());
  for (int i = 0; i < 9; ++i) {  // together more than 2^64 bytes
    const Tensor huge = encoder.temporary(DType::f32, {(std::size_t{1} << 61) - 1});
    fill(encoder, 1.0f, huge);
    add(encoder, huge, huge, huge);
  }
  EXPECT_TRUE(throws(ErrorCode::out_of_memory, {}, [&] { encoder.finish(); }));
  run(device(), [&](CommandEncoder& e) { fill(e, 5.0f, y); });
  EXPECT_EQ(get(y), std::vector<float>(64, 5.0f));
}

// ---- transactions

TEST_P(Encoder, TransactionsUndoUnlessCommitted) {
  const Tensor y = tensor(), z = tensor();
  CommandEncoder encoder(device());
  const Tensor junk = encoder.temporary(DType::f32, {64}), t = encoder.temporary(DType::f32, {64});
  fill(encoder, 1.0f, y);
  fill(encoder, 7.0f, junk);
  copy(encoder, junk, z);
  silu(encoder, z, z);  // a stage in which nothing uses the junk any more
  {
    CommandEncoder::Transaction transaction(encoder);
    fill(encoder, 2.0f, y);
    fill(encoder, 9.0f, t);
    EXPECT_EQ(encoder.commands(), 6u);
  }
  EXPECT_EQ(encoder.commands(), 4u);
  {
    CommandEncoder::Transaction transaction(encoder);
    add(encoder, t, y, y);  // the first use of t, which must be cleared: it lies where the junk lay
    transaction.commit();
  }
  const CommandList list = encoder.finish();
  EXPECT_LT(list.temporary_bytes(), list.temporary_bytes_unpacked()) << "or this tests nothing";
  device().submit(list).wait();
  EXPECT_EQ(get(y), std::vector<float>(64, 1.0f));
}

TEST_P(Encoder, ATransactionThatOutlivesItsRecordingUndoesNothing) {
  const Tensor y = tensor();
  CommandEncoder encoder(device());
  fill(encoder, 1.0f, y);
  fill(encoder, 2.0f, y);
  {
    CommandEncoder::Transaction transaction(encoder);
    device().submit(encoder.finish()).wait();
    fill(encoder, 3.0f, y);
  }
  const CommandList list = encoder.finish();
  EXPECT_EQ(list.commands(), 1u);
  device().submit(list).wait();
  EXPECT_EQ(get(y), std::vector<float>(64, 3.0f));
}

// ---- lists

TEST_P(Encoder, AListGivesTheSameEachTime) {
  const Tensor x = make(device(), Random(1).floats(1000)), y = tensor(1000);
  CommandEncoder encoder(device());
  const Tensor t = encoder.temporary(DType::f32, {1000});
  silu(encoder, x, t);
  mul(encoder, t, x, y);
  const CommandList list = encoder.finish();
  device().submit(list).wait();
  const std::vector<float> want = get(y);
  for (int i = 0; i < 50; ++i) {
    set(y, std::vector<float>(1000));
    device().submit(list);
    ASSERT_TRUE(same_bits(get(y), want)) << "downloads come after what was submitted before";
  }
}

TEST_P(Encoder, TransfersAndSubmitsTakeEffectInTheOrderOfTheCalls) {
  const Tensor x = tensor(1), sum = tensor(1);
  CommandEncoder encoder(device());
  add(encoder, sum, x, sum);
  const CommandList list = encoder.finish();
  float want = 0.0f;
  for (int i = 1; i <= 30; ++i) {
    x.upload(std::vector<float>{static_cast<float>(i)});
    const Fence fence = device().submit(list);
    want += static_cast<float>(i);
    if (i % 3 == 0) {
      EXPECT_EQ(get(sum)[0], want);
    }
    if (i % 7 == 0) fence.wait();
  }
  EXPECT_EQ(get(sum)[0], want);
}

TEST_P(Encoder, AListKeepsItsTensorsAlive) {
  std::optional<CommandList> list;
  Tensor y = tensor(3);
  {
    Tensor x = make(device(), {1.0f, 2.0f, 3.0f}), middle = tensor(3);
    CommandEncoder encoder(device());
    scale(encoder, x, 2.0f, middle);
    scale(encoder, middle, 2.0f, y);
    list = encoder.finish();
  }
  std::vector<Tensor> others;  // would take the freed memory
  for (int i = 0; i < 20; ++i) others.push_back(make(device(), {9.0f, 9.0f, 9.0f}));
  device().submit(*list).wait();
  EXPECT_EQ(get(y), std::vector<float>({4.0f, 8.0f, 12.0f}));
  for (const Tensor& other : others) EXPECT_EQ(get(other), std::vector<float>(3, 9.0f));
}

TEST_P(Encoder, AListGivesItsMemoryBack) {
  const std::size_t before = device().memory().bytes;
  {
    CommandEncoder encoder(device());
    const Tensor t = encoder.temporary(DType::f32, {100'000});
    fill(encoder, 1.0f, t);
    EXPECT_EQ(device().memory().bytes, before) << "a temporary has no memory while recording";
    const CommandList list = encoder.finish();
    EXPECT_EQ(device().memory().bytes, before + list.temporary_bytes());
    EXPECT_GE(list.temporary_bytes(), 400'000u);
    EXPECT_GE(device().memory().peak_bytes, before + list.temporary_bytes());
  }
  EXPECT_EQ(device().memory().bytes, before);
}

TEST_P(Encoder, FinishEmptiesTheEncoder) {
  const Tensor y = tensor();
  CommandEncoder encoder(device());
  fill(encoder, 1.0f, y);
  const CommandList first = encoder.finish();
  EXPECT_EQ(encoder.commands(), 0u);
  fill(encoder, 2.0f, y);
  const CommandList second = encoder.finish();
  device().submit(second).wait();
  device().submit(first).wait();
  EXPECT_EQ(get(y), std::vector<float>(64, 1.0f));
}

TEST_P(Encoder, AnExceptionOfAKernelSurfacesInTheFence) {
  if (device().name() != "cpu") GTEST_SKIP() << "the kernel has a CPU source only";
  const auto fail = [](const void*, Groups groups) {
    if (groups.begin <= 2 && 2 < groups.end) throw std::runtime_error("group 2 is unhappy");
  };
  for (const unsigned threads : {1u, 2u, 4u}) {
    const Device own = Device::open("cpu", {.threads = threads});
    own.kernels().add("user.fail", {.cpu = {fail, {1}}});
    const Tensor y(own, DType::f32, {8});
    CommandEncoder encoder(own);
    fill(encoder, 1.0f, y);
    encoder.dispatch("user.fail", {read_write(y, "y")}, 0, Grid{8});
    fill(encoder, 2.0f, y);
    const CommandList list = encoder.finish();
    for (int i = 0; i < 3; ++i) {
      const Fence fence = own.submit(list), copy = fence;
      for (const Fence& f : {fence, copy, fence}) {
        try {
          f.wait();
          ADD_FAILURE() << "nothing was thrown";
        } catch (const std::runtime_error& error) {
          EXPECT_STREQ(error.what(), "group 2 is unhappy");
        }
        EXPECT_TRUE(f.done());
      }
      EXPECT_EQ(get(y), std::vector<float>(8, 1.0f)) << "what comes after the failure does not run";
      run(own, [&](CommandEncoder& e) { fill(e, 3.0f, y); });
      EXPECT_EQ(get(y), std::vector<float>(8, 3.0f));
    }
  }
}

SILICA_ON_EVERY_DEVICE(Encoder);

}  // namespace
}  // namespace silica::test

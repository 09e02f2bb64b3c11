// SPDX-License-Identifier: MIT
// Every allocation and every file operation of saving and loading a checkpoint fails in turn: a typed error
// each time, no file left over, and at every moment the old checkpoint or the new one is whole, even if the
// process ends there.
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "checkpoint.h"
#include "file.h"
#include "inject.h"
#include "model.h"

namespace silica::app {
namespace {

namespace fs = std::filesystem;
using test::again;
using test::fail_each;
using test::Fault;
using test::Injection;

Checkpoint checkpoint_of(float value) {
  Checkpoint checkpoint;
  checkpoint.vocabulary = "abc";
  checkpoint.settings.model = {.vocabulary = 4, .width = 2, .hidden = 3, .blocks = 1};
  checkpoint.settings.steps = 2;
  checkpoint.step = 1;
  checkpoint.data = "words";
  checkpoint.data_sha256 = "1234";
  const auto add = [&](const std::string& name, const Shape& shape) {
    HostTensor tensor = HostTensor::from(std::vector<float>(shape.size(), value));
    tensor.shape = shape;
    checkpoint.tensors[name] = tensor;
  };
  for (const auto& [name, shape] : weight_shapes(checkpoint.settings.model)) {
    for (const std::string& tensor : {name, first_moment(name), second_moment(name)}) add(tensor, shape);
  }
  add("adam.state", Shape{3});
  add("history.loss", Shape{1});
  add("history.held_out", Shape{evaluations_at(checkpoint.settings, 1)});
  return checkpoint;
}

class Checkpoints : public ::testing::Test {
 protected:
  Checkpoints() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / (std::string("silica-") + test->name() + std::to_string(getpid()));
    fs::create_directories(folder_);
    save_checkpoint(old_, path());
  }
  ~Checkpoints() override { fs::remove_all(folder_); }

  fs::path path() const { return folder_ / "checkpoint"; }
  std::ptrdiff_t files() const { return std::distance(fs::directory_iterator(folder_), {}); }
  bool holds(const Checkpoint& expected) const { return load_checkpoint(path()).tensors == expected.tensors; }

  // The old or the new one, whole: load_checkpoint checks all of it.
  void expect_one_of_both() const { EXPECT_TRUE(holds(old_) || holds(new_)); }

  const Checkpoint old_ = checkpoint_of(1), new_ = checkpoint_of(2);
  fs::path folder_;
};

TEST_F(Checkpoints, SavingSurvivesEveryAllocation) {
  const std::size_t allocations = fail_each(Fault::allocation, [&] {
    try {
      save_checkpoint(new_, path());
    } catch (const std::bad_alloc&) {
      expect_one_of_both();
    }
  });
  EXPECT_GT(allocations, 50u);
  EXPECT_TRUE(holds(new_));
  EXPECT_EQ(files(), 1);
}

TEST_F(Checkpoints, LoadingSurvivesEveryAllocation) {
  const std::size_t allocations = fail_each(Fault::allocation, [&] {
    const Checkpoint loaded = again([&] { return load_checkpoint(path()); });
    EXPECT_EQ(loaded.tensors, old_.tensors);
    EXPECT_EQ(loaded.settings, old_.settings);
  });
  EXPECT_GT(allocations, 50u);
}

// A failure that saving can live with, such as that of syncing the directory, is none.
TEST_F(Checkpoints, SavingSurvivesEveryFileOperation) {
  const Checkpoint *stored = &old_, *other = &new_;
  for (const Fault fault : {Fault::file, Fault::disk_full}) {
    const std::size_t operations = fail_each(fault, [&] {
      bool saved = false;
      try {
        save_checkpoint(*other, path());
        saved = true;
      } catch (const Error& error) {
        EXPECT_EQ(to_string(error.code()), "io");
        EXPECT_TRUE(std::string(error.what()).starts_with(path().string())) << error.what();
      }
      Injection::stop();
      EXPECT_EQ(files(), 1) << "a temporary file was left";
      EXPECT_TRUE(holds(*other) || (!saved && holds(*stored)));
      save_checkpoint(*other, path());
      EXPECT_TRUE(holds(*other));
      std::swap(stored, other);
    });
    EXPECT_GE(operations, fault == Fault::file ? 5u : 1u);
  }
}

TEST_F(Checkpoints, LoadingSurvivesEveryFileOperation) {
  const std::size_t operations = fail_each(Fault::file, [&] {
    try {
      EXPECT_EQ(load_checkpoint(path()).tensors, old_.tensors);
    } catch (const Error& error) {
      EXPECT_EQ(to_string(error.code()), "io");
      EXPECT_TRUE(std::string(error.what()).starts_with(path().string())) << error.what();
    }
    Injection::stop();
    EXPECT_TRUE(holds(old_));
  });
  EXPECT_GE(operations, 4u);
}

TEST_F(Checkpoints, AnInterruptionIsNoFailure) {
  EXPECT_GE(fail_each(Fault::interrupt,
                      [&] {
                        save_checkpoint(new_, path());
                        EXPECT_TRUE(holds(new_));
                      }),
            2u);
}

// The process ends before the n-th file operation.
TEST_F(Checkpoints, OneIsWholeWheneverTheProcessEnds) {
  bool seen_old = false;
  int n = 1;
  for (int status = Injection::crash_status; status == Injection::crash_status; ++n) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const Injection injection(Fault::crash, static_cast<std::size_t>(n));
      save_checkpoint(new_, path());
      _exit(0);
    }
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    status = WEXITSTATUS(status);
    EXPECT_TRUE(holds(new_) || holds(old_)) << "before operation " << n;
    seen_old = seen_old || holds(old_);
  }
  EXPECT_TRUE(seen_old);
  EXPECT_GE(n, 6);
  EXPECT_TRUE(holds(new_));
}

}  // namespace
}  // namespace silica::app

// SPDX-License-Identifier: MIT
// Softmax and the losses made of it, on the CPU, in the orders of lanes_cpp.h and docs/exactness.md.
#include <cstdint>

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

namespace silica::kernels::SILICA_ISA {

namespace {

#include "kernels/dtypes.h"

#include "kernels/row/lanes_cpp.h"

constexpr float quiet_nan = __builtin_nanf("");

// ---- a row's exponentials

// What a loop calls is always inlined, so that the loop is vectorised.
template <class T> FORMULA(float) exponential(const typename T::Element* x, std::uint64_t i, float most) {
  return exp_falling(T::load(x[i]) - most);
}

template <class T> float sum_of_exponentials(const typename T::Element* x, std::uint64_t cols, float most) {
  return row_sum(cols, [=](std::uint64_t i, float lane) { return lane + exponential<T>(x, i, most); });
}

// The exponentials of a row whose output is y, which may be x. They are kept there in f32; a half would round
// them, and they are computed again.
template <class T> class Exponentials {
 public:
  using Element = typename T::Element;
  Exponentials(const Element* x, Element* y, std::uint64_t cols) : most_(row_max<T>(x, cols)) {
    if constexpr (kept) {
      SILICA_INDEPENDENT
      for (std::uint64_t i = 0; i < cols; ++i) y[i] = exponential<T>(x, i, most_);
      sum = row_sum(cols, [y](std::uint64_t i, float lane) { return lane + y[i]; });
    } else {
      sum = sum_of_exponentials<T>(x, cols, most_);
    }
  }
  [[gnu::always_inline]] float at(const Element* x, const Element* y, std::uint64_t i) const {
    if constexpr (kept) return y[i];
    return exponential<T>(x, i, most_);
  }

  float sum = 0.0f;

 private:
  static constexpr bool kept = sizeof(Element) == sizeof(float);
  float most_;
};

// ---- softmax and log_softmax

template <class Element> struct Arguments {
  const Element* x;  // (rows, cols)
  Element* y;        // (rows, cols)
  std::uint64_t cols;
};

template <class T> void softmax(const void* arguments, Groups groups) {
  const auto a = *static_cast<const Arguments<typename T::Element>*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const auto* x = a.x + row * a.cols;
    auto* y = a.y + row * a.cols;
    const Exponentials<T> e(x, y, a.cols);
    const float scale = div_(1.0f, e.sum);
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) y[i] = T::store(e.at(x, y, i) * scale);
  }
}

template <class T> void log_softmax(const void* arguments, Groups groups) {
  const auto a = *static_cast<const Arguments<typename T::Element>*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const auto* x = a.x + row * a.cols;
    auto* y = a.y + row * a.cols;
    const float most = row_max<T>(x, a.cols);
    const float log_sum = log_(sum_of_exponentials<T>(x, a.cols, most));
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) y[i] = T::store((T::load(x[i]) - most) - log_sum);
  }
}

template <class Element> struct BackwardArguments {
  const Element* y;   // (rows, cols)
  const Element* dy;  // (rows, cols)
  Element* dx;        // (rows, cols)
  std::uint64_t cols;
};

template <class T> void softmax_backward(const void* arguments, Groups groups) {
  const auto a = *static_cast<const BackwardArguments<typename T::Element>*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const auto* y = a.y + row * a.cols;
    const auto* dy = a.dy + row * a.cols;
    auto* dx = a.dx + row * a.cols;
    const float dot = row_sum(
        a.cols, [=](std::uint64_t i, float lane) { return fma_(T::load(y[i]), T::load(dy[i]), lane); });
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) dx[i] = T::store(T::load(y[i]) * (T::load(dy[i]) - dot));
  }
}

template <class T> void log_softmax_backward(const void* arguments, Groups groups) {
  const auto a = *static_cast<const BackwardArguments<typename T::Element>*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const auto* y = a.y + row * a.cols;
    const auto* dy = a.dy + row * a.cols;
    auto* dx = a.dx + row * a.cols;
    const float sum = row_sum(a.cols, [=](std::uint64_t i, float lane) { return lane + T::load(dy[i]); });
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) {
      dx[i] = T::store(fma_(-exp_(T::load(y[i])), sum, T::load(dy[i])));
    }
  }
}

// ---- cross_entropy

template <class T> void cross_entropy(const void* arguments, Groups groups) {
  struct LossArguments {
    const typename T::Element* logits;  // (rows, cols)
    const std::uint32_t* targets;       // (rows)
    float* losses;                      // (rows)
    std::uint64_t cols;
  };
  const auto a = *static_cast<const LossArguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const auto* x = a.logits + row * a.cols;
    const float most = row_max<T>(x, a.cols);
    const float sum = sum_of_exponentials<T>(x, a.cols, most);
    const std::uint32_t target = a.targets[row];
    a.losses[row] = target < a.cols ? log_(sum) - (T::load(x[target]) - most) : quiet_nan;
  }
}

template <class T> void cross_entropy_backward(const void* arguments, Groups groups) {
  struct LossArguments {
    const typename T::Element* logits;  // (rows, cols)
    const std::uint32_t* targets;       // (rows)
    const float* dloss;                 // one element
    typename T::Element* dlogits;       // (rows, cols)
    std::uint64_t rows, cols;
  };
  const auto a = *static_cast<const LossArguments*>(arguments);
  const float weight = div_(a.dloss[0], static_cast<float>(a.rows));
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const auto* x = a.logits + row * a.cols;
    auto* dx = a.dlogits + row * a.cols;
    const std::uint32_t target = a.targets[row];  // before dlogits is written: they may share memory
    const Exponentials<T> e(x, dx, a.cols);
    const float scale = target < a.cols ? div_(1.0f, e.sum) : quiet_nan;
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) {
      dx[i] = T::store((e.at(x, dx, i) * scale - select_(i == target, 1.0f, 0.0f)) * weight);
    }
  }
}

// ---- kl_divergence

// softmax(x) of a row, and its logarithm.
template <class T> struct Distribution {
  Distribution(const typename T::Element* logits, std::uint64_t cols) : x(logits), most(row_max<T>(x, cols)) {
    const float sum = sum_of_exponentials<T>(x, cols, most);
    scale = div_(1.0f, sum);
    log_sum = log_(sum);
  }
  [[gnu::always_inline]] float probability(std::uint64_t i) const {
    return exponential<T>(x, i, most) * scale;
  }
  [[gnu::always_inline]] float log_probability(std::uint64_t i) const {
    return (T::load(x[i]) - most) - log_sum;
  }

  const typename T::Element* x;
  float most, scale = 0.0f, log_sum = 0.0f;
};

// Where p is 0 so is the term, whatever the logarithms are.
template <class T> float divergence(Distribution<T> p, Distribution<T> q, std::uint64_t cols) {
  return row_sum(cols, [=](std::uint64_t i, float lane) {
    const float probability = p.probability(i);
    const float ratio = p.log_probability(i) - q.log_probability(i);
    return fma_(probability, select_(probability == 0.0f, 0.0f, ratio), lane);
  });
}

template <class T> void kl_divergence(const void* arguments, Groups groups) {
  struct LossArguments {
    const typename T::Element* p_logits;  // (rows, cols)
    const typename T::Element* q_logits;  // (rows, cols)
    float* losses;                        // (rows)
    std::uint64_t cols;
  };
  const auto a = *static_cast<const LossArguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const Distribution<T> p(a.p_logits + row * a.cols, a.cols), q(a.q_logits + row * a.cols, a.cols);
    a.losses[row] = divergence(p, q, a.cols);
  }
}

template <class T, bool of_p> void kl_divergence_backward(const void* arguments, Groups groups) {
  struct LossArguments {
    const typename T::Element* p_logits;  // (rows, cols)
    const typename T::Element* q_logits;  // (rows, cols)
    const float* dloss;                   // one element
    typename T::Element* dlogits;         // (rows, cols), of p or of q
    std::uint64_t rows, cols;
  };
  const auto a = *static_cast<const LossArguments*>(arguments);
  const float weight = div_(a.dloss[0], static_cast<float>(a.rows));
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const Distribution<T> p(a.p_logits + row * a.cols, a.cols), q(a.q_logits + row * a.cols, a.cols);
    auto* dx = a.dlogits + row * a.cols;
    float whole = 0.0f;
    if constexpr (of_p) whole = divergence(p, q, a.cols);
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) {
      const float probability = p.probability(i);
      if constexpr (of_p) {
        const float excess = (p.log_probability(i) - q.log_probability(i)) - whole;
        dx[i] = T::store(select_(probability == 0.0f, 0.0f, probability * excess) * weight);
      } else {
        dx[i] = T::store((q.probability(i) - probability) * weight);
      }
    }
  }
}

}  // namespace

void softmax_kernels(Sink& sink) {
  constexpr Tile one_row{1};
#define SILICA_ADD(dtype, T)                                                                 \
  sink.add("row.softmax." dtype, softmax<T>, one_row);                                       \
  sink.add("row.softmax_backward." dtype, softmax_backward<T>, one_row);                     \
  sink.add("row.log_softmax." dtype, log_softmax<T>, one_row);                               \
  sink.add("row.log_softmax_backward." dtype, log_softmax_backward<T>, one_row);             \
  sink.add("row.cross_entropy." dtype, cross_entropy<T>, one_row);                           \
  sink.add("row.cross_entropy_backward." dtype, cross_entropy_backward<T>, one_row);         \
  sink.add("row.kl_divergence." dtype, kl_divergence<T>, one_row);                           \
  sink.add("row.kl_divergence_backward_p." dtype, kl_divergence_backward<T, true>, one_row); \
  sink.add("row.kl_divergence_backward_q." dtype, kl_divergence_backward<T, false>, one_row);
  SILICA_ADD("f32", F32)
  SILICA_ADD("f16", F16)
  SILICA_ADD("bf16", BF16)
#undef SILICA_ADD
}

}  // namespace silica::kernels::SILICA_ISA

// SPDX-License-Identifier: MIT
#include "words.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>

#include "errors.h"
#include "random.h"

namespace silica::app {
namespace {

CommandList encode_sigmoid(const Device& device, const Tensor& x) {
  CommandEncoder encoder(device);
  sigmoid(encoder, x, x);
  return encoder.finish();
}

std::uint8_t draw(std::span<const float> odds, std::uint64_t bits) {
  const double sum = std::accumulate(odds.begin(), odds.end(), 0.0);
  double rest = static_cast<double>(bits >> 11) * 0x1p-53 * sum;
  std::size_t last = 0;  // rounding may leave a little rest after the last symbol
  for (std::size_t symbol = 0; symbol < odds.size(); ++symbol) {
    if (odds[symbol] <= 0) continue;
    last = symbol;
    rest -= static_cast<double>(odds[symbol]);
    if (rest < 0) break;
  }
  return static_cast<std::uint8_t>(last);
}

}  // namespace

void validate(const SamplingOptions& options) {
  if (!(options.temperature >= 0.01f && options.temperature <= 100.0f)) {
    fail(ErrorCode::invalid_argument, "--temperature: {} is out of range, expected 0.01 to 100",
         options.temperature);
  }
  if (options.prompt.size() >= WordSampler::longest_word) {
    fail(ErrorCode::invalid_argument, "--prompt: has {} bytes, expected fewer than {}", options.prompt.size(),
         WordSampler::longest_word);
  }
}

WordSampler::WordSampler(const Model& model, const Vocabulary& vocabulary, const SamplingOptions& options)
    : vocabulary_(vocabulary),
      options_(options),
      device_(model.device()),
      prediction_(encode_prediction(model, rows)),
      sigmoids_(device_, DType::f32, {rows, vocabulary.size()}),
      sigmoid_list_(encode_sigmoid(device_, sigmoids_)) {
  for (const char byte : options.prompt) prompt_.push_back(vocabulary_.symbol(byte));
}

// To logits relative to the largest, with all but the top k at -infinity.
void WordSampler::scale_logits(std::span<float> row) const {
  std::vector<std::size_t> order(row.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(
      order, [&](std::size_t a, std::size_t b) { return row[a] > row[b] || (row[a] == row[b] && a < b); });
  const float largest = row[order.front()];
  const std::size_t kept = options_.top_k == 0 ? row.size() : options_.top_k;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    float& logit = row[order[rank]];
    logit = rank < kept ? (logit - largest) / options_.temperature : -std::numeric_limits<float>::infinity();
  }
}

// exp(z) = s / (1 - s) with s = sigmoid(z): the device's exact sigmoid stands in for a library's exp.
std::vector<float> WordSampler::odds(const std::vector<std::vector<std::uint8_t>>& words) {
  std::vector<std::uint32_t> ids(rows * context_length, Vocabulary::boundary);
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t used = std::min(words[row].size(), context_length);
    const auto end = ids.begin() + static_cast<std::ptrdiff_t>((row + 1) * context_length);
    std::copy_backward(words[row].end() - static_cast<std::ptrdiff_t>(used), words[row].end(), end);
  }
  prediction_.ids.upload(ids);
  device_.submit(prediction_.list).wait();
  std::vector<float> values = prediction_.logits.download<float>();
  const std::size_t symbols = vocabulary_.size();
  for (std::size_t row = 0; row < rows; ++row)
    scale_logits(std::span(values).subspan(row * symbols, symbols));
  sigmoids_.upload(values);
  device_.submit(sigmoid_list_).wait();
  sigmoids_.download(std::span(values));
  for (float& value : values) value = value / (1.0f - value);
  return values;
}

std::vector<std::string> WordSampler::next() {
  std::vector<std::vector<std::uint8_t>> words(rows, prompt_);
  std::vector<bool> ended(rows, false);
  for (std::size_t length = prompt_.size(); length < longest_word; ++length) {
    const std::vector<float> all = odds(words);
    for (std::size_t row = 0; row < rows; ++row) {
      if (ended[row]) continue;
      const std::uint64_t bits =
          random_bits(options_.seed, Stream::words, (attempts_ + row) * longest_word + length);
      const std::uint8_t symbol =
          draw(std::span(all).subspan(row * vocabulary_.size(), vocabulary_.size()), bits);
      ended[row] = symbol == Vocabulary::boundary;
      if (!ended[row]) words[row].push_back(symbol);
    }
    if (std::find(ended.begin(), ended.end(), false) == ended.end()) break;
  }
  attempts_ += rows;

  std::vector<std::string> result;
  for (std::size_t row = 0; row < rows; ++row) {
    if (!ended[row]) continue;
    std::string& word = result.emplace_back();
    for (const std::uint8_t symbol : words[row]) word += vocabulary_.byte(symbol);
  }
  return result;
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    const int following = lead < 0x80                    ? 0
                          : lead >= 0xc2 && lead < 0xe0  ? 1
                          : lead >= 0xe0 && lead < 0xf0  ? 2
                          : lead >= 0xf0 && lead <= 0xf4 ? 3
                                                         : -1;
    if (following < 0) return false;
    for (int k = 0; k < following; ++k, ++i) {
      if (i == text.size() || (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return false;
    }
  }
  return true;
}

}  // namespace silica::app

// SPDX-License-Identifier: MIT
// Stores that go past the caches, for results too large to stay there: a line that is overwritten whole need
// not be read first. Included inside the namespace of an instruction set.

constexpr std::uint64_t streamed_bytes = std::uint64_t{64} << 20;  // of all operands

#if defined(__AVX__)
using StreamWord = __m256i;
inline void stream_word(StreamWord* to, const unsigned char* from) {
  _mm256_stream_si256(to, _mm256_loadu_si256(reinterpret_cast<const StreamWord*>(from)));
}
#elif defined(__SSE2__)
using StreamWord = __m128i;
inline void stream_word(StreamWord* to, const unsigned char* from) {
  _mm_stream_si128(to, _mm_loadu_si128(reinterpret_cast<const StreamWord*>(from)));
}
#endif

// As memcpy. Whoever streams ends with end_stream().
inline void stream(void* to, const void* from, std::size_t bytes) {
#if defined(__SSE2__)
  auto* target = static_cast<unsigned char*>(to);
  auto* source = static_cast<const unsigned char*>(from);
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(target) % sizeof(StreamWord);
  const std::size_t head = std::min(bytes, misaligned == 0 ? 0 : sizeof(StreamWord) - misaligned);
  std::memcpy(target, source, head);
  std::size_t at = head;
  for (; at + sizeof(StreamWord) <= bytes; at += sizeof(StreamWord)) {
    stream_word(reinterpret_cast<StreamWord*>(target + at), source + at);
  }
  std::memcpy(target + at, source + at, bytes - at);
#else
  std::memcpy(to, from, bytes);
#endif
}

// So that other threads see what was streamed.
inline void end_stream() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

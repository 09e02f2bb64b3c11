// SPDX-License-Identifier: MIT
// Many numbers of a dtype of 16 bits to floats and back; F16 with the conversions of the instruction set
// where it has them. Those make a signalling NaN quiet, so they serve what computes. Included as dtypes.h is.

template <class T> void widen(const std::uint16_t* from, float* to, std::uint64_t count) {
  std::uint64_t i = 0;
#ifdef __F16C__
  if constexpr (std::is_same_v<T, F16>) {
    for (; i + 8 <= count; i += 8) {
      const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
      _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
    }
  }
#endif
  SILICA_INDEPENDENT
  for (; i < count; ++i) to[i] = T::load(from[i]);
}

template <class T> void narrow(const float* from, std::uint16_t* to, std::uint64_t count) {
  std::uint64_t i = 0;
#ifdef __F16C__
  if constexpr (std::is_same_v<T, F16>) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256 quiet = _mm256_set1_ps(__builtin_nanf(""));
    for (; i + 8 <= count; i += 8) {
      const __m256 x = _mm256_loadu_ps(from + i);
      const __m256 nan = _mm256_or_ps(_mm256_and_ps(x, sign), quiet);  // without a payload, as f32_to_f16_
      const __m256 value = _mm256_blendv_ps(x, nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                       _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
  }
#endif
  SILICA_INDEPENDENT
  for (; i < count; ++i) to[i] = T::store(from[i]);
}

// SPDX-License-Identifier: MIT
// Division and square root, correctly rounded, for a device whose own are only close (Vulkan allows 2.5 ulp).
// In the common subset of formulas.h, but a prelude includes it: after bits_, from_bits_ and fma_, before
// div_ and sqrt_. ROUGH_RECIPROCAL_ and ROUGH_SQRT_ are the device's own; a few ulp off does not matter.

// value * 2^(exponent - 127), rounded once: 26 bits, the last of which is sticky; bit 25 is worth 1.
FORMULA(REAL) pack_(UINT sign, UINT value, int exponent) {
  int excess = select_(exponent > 0, 0, 1 - exponent);  // bits that a subnormal lacks
  UINT shift = UINT(select_(excess > 26, 28, 2 + excess));
  UINT kept = value >> shift;
  UINT rest = value - (kept << shift);
  UINT middle = 1u << (shift - 1u);
  UINT up = select_(rest > middle || (rest == middle && (kept & 1u) == 1u), 1u, 0u);
  // A normal result has its leading bit in `kept`, which adds the last 1 to the exponent.
  UINT field = UINT(select_(exponent > 0, exponent - 1, 0));
  UINT bits = kept + up + (field << 23);
  bits = select_(exponent > 254 || bits > 0x7f800000u, 0x7f800000u, bits);
  return from_bits_(bits | sign);
}

FORMULA(REAL) div_rounded_(REAL a, REAL b) {
  UINT sign = (bits_(a) ^ bits_(b)) & 0x80000000u;
  UINT a_bits = bits_(a) & 0x7fffffffu;
  UINT b_bits = bits_(b) & 0x7fffffffu;
  // Subnormals get their leading bit; then both are x * 2^exponent with x in [1, 2).
  bool a_small = a_bits < 0x00800000u;
  bool b_small = b_bits < 0x00800000u;
  UINT a_normal = bits_(from_bits_(a_bits) * select_(a_small, 16777216.0f, 1.0f));
  UINT b_normal = bits_(from_bits_(b_bits) * select_(b_small, 16777216.0f, 1.0f));
  int a_exponent = int(a_normal >> 23) - select_(a_small, 24, 0);
  int b_exponent = int(b_normal >> 23) - select_(b_small, 24, 0);
  int exponent = a_exponent - b_exponent + 127;
  REAL x = from_bits_((a_normal & 0x007fffffu) | 0x3f800000u);
  REAL y = from_bits_((b_normal & 0x007fffffu) | 0x3f800000u);
  bool less = x < y;
  x = x * select_(less, 2.0f, 1.0f);  // so that the quotient is in [1, 2)
  exponent = exponent - select_(less, 1, 0);
  // Two corrections leave the quotient less than an ulp away, where its remainder is exact.
  REAL inverse = ROUGH_RECIPROCAL_(y);
  REAL q = x * inverse;
  q = fma_(fma_(-q, y, x), inverse, q);
  q = fma_(fma_(-q, y, x), inverse, q);
  q = select_(q < 1.0f, 1.0f, q);
  q = from_bits_(bits_(q) - select_(fma_(-q, y, x) < 0.0f, 1u, 0u));  // truncated
  REAL rest = fma_(-q, y, x);
  UINT half_bit = select_(rest * 8388608.0f >= y * 0.5f, 2u, 0u);
  UINT sticky = select_(rest > 0.0f, 1u, 0u);
  UINT value = (((bits_(q) & 0x007fffffu) | 0x00800000u) << 2) | half_bit | sticky;
  REAL result = pack_(sign, value, exponent);
  result = select_(a_bits == 0u || b_bits == 0x7f800000u, from_bits_(sign), result);
  result = select_(b_bits == 0u || a_bits == 0x7f800000u, from_bits_(sign | 0x7f800000u), result);
  bool invalid = a_bits > 0x7f800000u || b_bits > 0x7f800000u || (a_bits == 0u && b_bits == 0u) ||
                 (a_bits == 0x7f800000u && b_bits == 0x7f800000u);
  return select_(invalid, from_bits_(0x7fc00000u), result);
}

// 1 / x for x in [1, 32), which is all that the formulas ask for. Two Newton steps; the second rounds
// correctly (Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990)
// but for a mantissa of ones, whose reciprocal is the upper neighbour of a power of two.
FORMULA(REAL) reciprocal_rounded_(REAL x) {
  REAL y = ROUGH_RECIPROCAL_(x);
  y = fma_(fma_(-x, y, 1.0f), y, y);
  y = fma_(fma_(-x, y, 1.0f), y, y);
  return from_bits_(bits_(y) | select_((bits_(x) & 0x007fffffu) == 0x007fffffu, 1u, 0u));
}

FORMULA(REAL) sqrt_rounded_(REAL a) {
  UINT a_bits = bits_(a);
  bool small = a_bits < 0x00800000u;
  UINT normal = bits_(a * select_(small, 16777216.0f, 1.0f));
  // a = m * 4^power with m in [1, 4).
  int exponent = int(normal >> 23) - 127;
  UINT odd = UINT(exponent & 1);
  REAL m = from_bits_((normal & 0x007fffffu) | (0x3f800000u + (odd << 23)));
  UINT power = UINT((exponent - int(odd)) / 2 - select_(small, 12, 0));
  REAL s = ROUGH_SQRT_(m);
  REAL half_inverse = ROUGH_RECIPROCAL_(s + s);
  s = fma_(fma_(-s, s, m), half_inverse, s);
  s = fma_(fma_(-s, s, m), half_inverse, s);
  // m against the squares of the midpoints s -+ ulp/2; all of this is exact, and no root is a midpoint.
  REAL rest = fma_(-s, s, m);
  REAL bound = s * 1.1920929e-07f;
  UINT s_bits = bits_(s) + select_(rest > bound, 1u, 0u) - select_(rest <= -bound, 1u, 0u);
  REAL result = from_bits_(s_bits + (power << 23));
  // By bits, as a device that flushes subnormals may find that one equals zero.
  result = select_((a_bits & 0x7fffffffu) == 0u || a_bits == 0x7f800000u, a, result);
  bool invalid = a_bits > 0x80000000u || (a_bits & 0x7fffffffu) > 0x7f800000u;
  return select_(invalid, from_bits_(0x7fc00000u), result);
}

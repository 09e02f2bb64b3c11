// SPDX-License-Identifier: MIT
// The formulas of AdamW, in the common subset of formulas.h.

// A running mean: old * beta + value * (1 - beta).
FORMULA(REAL) adamw_moment(REAL old, REAL value, REAL beta) { return fma_(beta, old, (1.0f - beta) * value); }

// m and v are free of their bias towards the zero they began with.
FORMULA(REAL) adamw_weight(REAL weight, REAL m, REAL v, REAL rate, REAL epsilon, REAL decay) {
  return fma_(-rate, fma_(decay, weight, div_(m, sqrt_(v) + epsilon)), weight);
}

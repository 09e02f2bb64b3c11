// SPDX-License-Identifier: MIT
// silica: the mathematics of transformers, forward and backward, with the same bits on every device.
#pragma once

#include "silica/device.h"
#include "silica/dtype.h"
#include "silica/encoder.h"
#include "silica/error.h"
#include "silica/kernel.h"
#include "silica/ops.h"
#include "silica/shape.h"
#include "silica/tape.h"
#include "silica/tensor.h"

// LayerNorm over the last axis, then ReLU, rounded to bfloat16: PQN has it behind every layer.

#pragma once

#include <cmath>

#include "bfloat16_tiles.h"

namespace dqnlab {

constexpr int64_t kRowsPerTask = 512;

// Mean and 1 / standard deviation of `c` numbers, a multiple of 16.
inline std::pair<float, float> Moments(const float* x, int64_t c, float epsilon) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < c; i += 16) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + i));
  const float mean = _mm512_reduce_add_ps(sum) / c;
  __m512 squares = _mm512_setzero_ps();
  for (int64_t i = 0; i < c; i += 16) {
    const __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(mean));
    squares = _mm512_fmadd_ps(d, d, squares);
  }
  return {mean, 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / c + epsilon)};
}

// y [rows, C] = max(0, (x - mean) / deviation * scale + offset).
inline void LayerNormForward(ffi::ThreadPool& pool, int64_t rows, int64_t c, float epsilon,
                             const float* x, const float* scale, const float* offset, bf16* y) {
  Parallel(pool, CeilDiv(rows, kRowsPerTask), [&](int64_t task) {
    for (int64_t r = task * kRowsPerTask; r < std::min(rows, (task + 1) * kRowsPerTask); ++r) {
      const auto [mean, factor] = Moments(x + r * c, c, epsilon);
      for (int64_t i = 0; i < c; i += 16) {
        const __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + r * c + i), _mm512_set1_ps(mean));
        const __m512 unit = _mm512_mul_ps(d, _mm512_set1_ps(factor));
        const __m512 value =
            _mm512_fmadd_ps(unit, _mm512_loadu_ps(scale + i), _mm512_loadu_ps(offset + i));
        // The second operand comes out where one is NaN.
        const __m512 positive = _mm512_max_ps(_mm512_setzero_ps(), value);
        _mm256_storeu_si256((__m256i*)(y + r * c + i), (__m256i)_mm512_cvtneps_pbh(positive));
      }
    }
  });
}

// Of g [rows, C]: dx [rows, C], and d [2, C], the gradients of scale and offset.
inline void LayerNormGradient(ffi::ThreadPool& pool, int64_t rows, int64_t c, float epsilon,
                              const float* x, const float* scale, const float* offset,
                              const bf16* g, float* dx, float* d) {
  const int64_t tasks = CeilDiv(rows, kRowsPerTask);
  float* sums = Scratch<float>(kResult, tasks * 2 * c);
  std::memset(sums, 0, tasks * 2 * c * sizeof(float));
  Parallel(pool, tasks, [&](int64_t task) {
    float *dscale = sums + task * 2 * c, *doffset = dscale + c;
    for (int64_t r = task * kRowsPerTask; r < std::min(rows, (task + 1) * kRowsPerTask); ++r) {
      const float* row = x + r * c;
      float* out = dx + r * c;
      const auto [mean, factor] = Moments(row, c, epsilon);
      const auto unit = [&, mean = mean, factor = factor](int64_t i) {
        const __m512 centred = _mm512_sub_ps(_mm512_loadu_ps(row + i), _mm512_set1_ps(mean));
        return _mm512_mul_ps(centred, _mm512_set1_ps(factor));
      };
      __m512 sum = _mm512_setzero_ps(), product = _mm512_setzero_ps();
      for (int64_t i = 0; i < c; i += 16) {
        const __m512 u = unit(i), weight = _mm512_loadu_ps(scale + i);
        const __m512 value = _mm512_fmadd_ps(u, weight, _mm512_loadu_ps(offset + i));
        const __mmask16 is_on = _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_GT_OQ);
        const __m512 bits =
            _mm512_castsi512_ps(_mm512_slli_epi32(Load(g + r * c + i), 16));
        const __m512 passed = _mm512_maskz_mov_ps(is_on, bits);
        _mm512_storeu_ps(dscale + i, _mm512_fmadd_ps(passed, u, _mm512_loadu_ps(dscale + i)));
        _mm512_storeu_ps(doffset + i, _mm512_add_ps(passed, _mm512_loadu_ps(doffset + i)));
        const __m512 h = _mm512_mul_ps(passed, weight);
        sum = _mm512_add_ps(sum, h);
        product = _mm512_fmadd_ps(h, u, product);
        _mm512_storeu_ps(out + i, h);
      }
      const __m512 mean_h = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / c);
      const __m512 mean_hu = _mm512_set1_ps(_mm512_reduce_add_ps(product) / c);
      for (int64_t i = 0; i < c; i += 16) {
        const __m512 h = _mm512_sub_ps(_mm512_loadu_ps(out + i), mean_h);
        const __m512 rest = _mm512_fnmadd_ps(unit(i), mean_hu, h);
        _mm512_storeu_ps(out + i, _mm512_mul_ps(rest, _mm512_set1_ps(factor)));
      }
    }
  });
  for (int64_t i = 0; i < 2 * c; ++i) {
    float total = 0;
    for (int64_t task = 0; task < tasks; ++task) total += sums[task * 2 * c + i];
    d[i] = total;
  }
}

}  // namespace dqnlab

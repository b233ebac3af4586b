// Max-pooling in bfloat16.

#pragma once

#include "bfloat16_tiles.h"

namespace dqnlab {

// Windows of 3 x 3 with stride 2, of which the first begins `top` and `left` before the picture;
// of equal maxima the first in row order, but a NaN before all.
struct Pooling {
  int64_t b, h, w, c, ho, wo;
  int64_t top() const { return (2 * ho + 1 - h) / 2; }
  int64_t left() const { return (2 * wo + 1 - w) / 2; }
};

inline __m512 Widen(const bf16* x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(Load(x), 16));
}

// y [B, ho, wo, C]; `place` says which of the 9 it was.
inline void PoolForward(ffi::ThreadPool& pool, const Pooling& p, const bf16* x, bf16* y,
                        uint8_t* place) {
  Parallel(pool, p.b * p.ho, [&](int64_t task) {
    const int64_t b = task / p.ho, yy = task % p.ho;
    for (int64_t xx = 0; xx < p.wo; ++xx) {
      for (int64_t c = 0; c < p.c; c += 16) {
        __m512 best = _mm512_undefined_ps();
        __m512i at = Zero();
        bool is_first = true;
        for (int64_t i = 0; i < 9; ++i) {
          const int64_t row = 2 * yy + i / 3 - p.top(), column = 2 * xx + i % 3 - p.left();
          if (row < 0 || row >= p.h || column < 0 || column >= p.w) continue;
          const __m512 value = Widen(x + ((b * p.h + row) * p.w + column) * p.c + c);
          // Not (best >= value) and best is a number: greater, or a NaN.
          const __mmask16 is_next =
              is_first ? 0xffff
                       : _mm512_cmp_ps_mask(best, value, _CMP_NGE_UQ) &
                             _mm512_cmp_ps_mask(best, best, _CMP_ORD_Q);
          best = _mm512_mask_mov_ps(best, is_next, value);
          at = _mm512_mask_mov_epi32(at, is_next, _mm512_set1_epi32(i));
          is_first = false;
        }
        const int64_t out = (task * p.wo + xx) * p.c + c;
        const __m512i bits = _mm512_srli_epi32(_mm512_castps_si512(best), 16);
        _mm256_storeu_si256((__m256i*)(y + out), _mm512_cvtepi32_epi16(bits));
        _mm_storeu_si128((__m128i*)(place + out), _mm512_cvtepi32_epi8(at));
      }
    }
  });
}

// dx: each g goes to where its maximum was; sums are float32 until all are there.
inline void PoolGradient(ffi::ThreadPool& pool, const Pooling& p, const bf16* g,
                         const uint8_t* place, bf16* dx) {
  const int64_t size = p.h * p.w * p.c;
  Parallel(pool, p.b, [&](int64_t b) {
    float* sums = Scratch<float>(kResult, size);
    std::memset(sums, 0, size * sizeof(float));
    for (int64_t out = b * p.ho * p.wo; out < (b + 1) * p.ho * p.wo; ++out) {
      const int64_t yy = out / p.wo % p.ho, xx = out % p.wo;
      for (int64_t c = 0; c < p.c; c += 16) {
        const __m512 value = Widen(g + out * p.c + c);
        const __m512i at =
            _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(place + out * p.c + c)));
        for (int64_t i = 0; i < 9; ++i) {
          const int64_t row = 2 * yy + i / 3 - p.top(), column = 2 * xx + i % 3 - p.left();
          if (row < 0 || row >= p.h || column < 0 || column >= p.w) continue;
          float* to = sums + (row * p.w + column) * p.c + c;
          const __mmask16 is_here = _mm512_cmpeq_epi32_mask(at, _mm512_set1_epi32(i));
          const __m512 sum = _mm512_loadu_ps(to);
          _mm512_storeu_ps(to, _mm512_mask_add_ps(sum, is_here, sum, value));
        }
      }
    }
    Convert(sums, size, dx + b * size);
  });
}

}  // namespace dqnlab

// The matrix units of x86 CPUs (AMX): tiles, and how numbers get into them.
//
// A tile holds 16 rows of 64 bytes. One product adds A [16, 32] times B [32, 16] to C [16, 16]: A
// and B in bfloat16, C in float32; B lies in memory with each two of its rows as one row of pairs.

#pragma once

#include <immintrin.h>

#include "common.h"

namespace dqnlab {

using bf16 = uint16_t;

constexpr int kRows = 16;               // of a tile, at most
constexpr int kBytes = 64;              // of a row
constexpr int kDepth = 32;              // numbers of a row: what one product sums over
constexpr int kTile = kRows * kDepth;   // numbers of a tile

inline int64_t TileRows(int64_t count) { return GroupSize(count, kRows); }

// Tiles 0 to 5 with this many rows, 6 and 7 with 16. The thread's configuration is put back at the
// end: oneDNN remembers what it set and would not set it again.
class Tiles {
 public:
  explicit Tiles(int64_t height) {
    _tile_storeconfig(&before_);
    Config config = {};
    config.palette = 1;
    for (int i = 0; i < 8; ++i) {
      config.bytes[i] = kBytes;
      config.rows[i] = i < 6 ? height : kRows;
    }
    _tile_loadconfig(&config);
  }
  ~Tiles() {
    if (before_.palette == 0) {
      _tile_release();
    } else {
      _tile_loadconfig(&before_);
    }
  }

 private:
  struct alignas(64) Config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  };
  Config before_;
};

// 16 numbers rounded to bfloat16, in the low halves of 32 bits.
inline __m512i Load(const float* x) {
  return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x)));
}
inline __m512i Load(const bf16* x) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)x));
}
inline __m512i Load(const uint8_t* x) {
  const __m512i words = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)x));
  return _mm512_srli_epi32((__m512i)_mm512_cvtepi32_ps(words), 16);
}
inline __m512i Pairs(__m512i low, __m512i high) {
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
inline __m512i Zero() { return _mm512_setzero_si512(); }

inline bf16 Round(float x) {
  return _mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set_ss(x)), 0);
}
inline bf16 Round(bf16 x) { return x; }
inline bf16 Round(uint8_t x) { return Round(float(x)); }

template <typename T>
void Convert(const T* x, int64_t count, bf16* y) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    _mm256_storeu_si256((__m256i*)(y + i), _mm512_cvtepi32_epi16(Load(x + i)));
  }
  for (; i < count; ++i) y[i] = Round(x[i]);
}

// y = pairs of x0 and x1 (null: zeros).
template <typename T>
void ConvertPairs(const T* x0, const T* x1, int64_t count, bf16* y) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    _mm512_storeu_si512(y + 2 * i, Pairs(Load(x0 + i), x1 ? Load(x1 + i) : Zero()));
  }
  for (; i < count; ++i) {
    y[2 * i] = Round(x0[i]);
    y[2 * i + 1] = x1 ? Round(x1[i]) : 0;
  }
}

// Turns 16 rows of 16 words into columns.
inline void Transpose(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 16; j += 8) {
      t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
      t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
    }
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

// 16 columns of 32 rows (fewer: zeros), `stride` numbers apart -> [16, 32] at `to`.
template <typename T>
void TurnRound(const T* from, int64_t rows, int64_t stride, bf16* to) {
  __m512i r[16];
  for (int64_t i = 0; i < 16; ++i) {
    const T* row = from + 2 * i * stride;
    r[i] = Pairs(2 * i < rows ? Load(row) : Zero(), 2 * i + 1 < rows ? Load(row + stride) : Zero());
  }
  Transpose(r);
  for (int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * kDepth, r[i]);
}

// Sums of products of tiles: A at `offsets` from where it is said to be, B packed tile by tile.
struct Product {
  const bf16* b;            // [depth, columns, kTile]
  const int64_t* offsets;   // [depth], in numbers
  int64_t depth, columns;   // steps of kDepth; tiles
  int64_t a_stride, c_stride;  // bytes from row to row
};

// C (i, j) = A i times column n + j of B, for i, j = 0, 1; without j = 1 where c01 is null.
inline void Multiply(const Product& p, const bf16* a0, const bf16* a1, int64_t n, float* c00,
                     float* c10, float* c01, float* c11) {
  const bf16* b = p.b + n * kTile;
  const int64_t step = p.columns * kTile;
  _tile_zero(0);
  _tile_zero(1);
  if (c01 == nullptr) {
    for (int64_t k = 0; k < p.depth; ++k, b += step) {
      _tile_loadd(6, b, kBytes);
      _tile_loadd(4, a0 + p.offsets[k], p.a_stride);
      _tile_loadd(5, a1 + p.offsets[k], p.a_stride);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 5, 6);
    }
  } else {
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < p.depth; ++k, b += step) {
      _tile_loadd(6, b, kBytes);
      _tile_loadd(7, b + kTile, kBytes);
      _tile_loadd(4, a0 + p.offsets[k], p.a_stride);
      _tile_loadd(5, a1 + p.offsets[k], p.a_stride);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 5, 6);
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(2, c01, p.c_stride);
    _tile_stored(3, c11, p.c_stride);
  }
  _tile_stored(0, c00, p.c_stride);
  _tile_stored(1, c10, p.c_stride);
}

}  // namespace dqnlab

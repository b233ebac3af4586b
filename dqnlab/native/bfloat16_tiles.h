// Products in bfloat16, tile by tile, and how numbers get into tiles.
//
// A tile holds 16 rows of 64 bytes. One product adds A [16, 32] times B [32, 16] to C [16, 16]: A
// and B in bfloat16, C in float32; B lies in memory with each two of its rows as one row of pairs.
// It is an instruction of CPUs with matrix units (AMX); elsewhere vectors of pairs are multiplied
// (AVX512_BF16), and a few rows of C stay in registers.

#pragma once

#include <immintrin.h>

#include <array>
#include <vector>

#include "common.h"

namespace dqnlab {

using bf16 = uint16_t;

constexpr int kRows = 16;               // of a tile, at most
constexpr int kBytes = 64;              // of a row
constexpr int kDepth = 32;              // numbers of a row: what one product sums over
constexpr int kTile = kRows * kDepth;   // numbers of a tile

inline int64_t TileRows(int64_t count) { return GroupSize(count, kRows); }

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

// Sums of products of tiles, over steps k: A lies at steps[k].a from where it is said to be, column
// n of B at steps[k].b + n * b_column from b.
struct Product {
  struct Step {
    int64_t a, b;  // numbers
  };
  const bf16* b;
  const Step* steps;
  int64_t depth;                         // steps
  int64_t b_column;                      // numbers
  int64_t a_stride, b_stride, c_stride;  // bytes from row to row
};

// Steps over B packed tile by tile, [depth, columns, kTile], with A at these offsets.
inline std::vector<Product::Step> StepsOf(const std::vector<int64_t>& offsets, int64_t columns) {
  std::vector<Product::Step> steps;
  for (int64_t offset : offsets) {
    steps.push_back({offset, int64_t(steps.size()) * columns * kTile});
  }
  return steps;
}

#if defined(__AMX_BF16__)

// Tiles of this many rows for A and C. The thread's configuration is put back at the end: oneDNN
// remembers what it set and would not set it again.
class Tiles {
 public:
  explicit Tiles(int64_t height) {
    _tile_storeconfig(&before_);
    Config config = {};
    config.palette = 1;
    for (int i = 0; i < 8; ++i) {
      config.bytes[i] = kBytes;
      config.rows[i] = i < 6 ? height : kRows;  // 6 and 7 are B's
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

  // C (i, j) = A i times column n + j of B, for i, j = 0, 1; without j = 1 where c01 is null.
  void Multiply(const Product& p, const bf16* a0, const bf16* a1, int64_t n, float* c00,
                float* c10, float* c01, float* c11) const {
    const bf16* b0 = p.b + n * p.b_column;
    _tile_zero(0);
    _tile_zero(1);
    if (c01 == nullptr) {
      for (int64_t k = 0; k < p.depth; ++k) {
        _tile_loadd(6, b0 + p.steps[k].b, p.b_stride);
        _tile_loadd(4, a0 + p.steps[k].a, p.a_stride);
        _tile_loadd(5, a1 + p.steps[k].a, p.a_stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
      }
    } else {
      const bf16* b1 = b0 + p.b_column;
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t k = 0; k < p.depth; ++k) {
        _tile_loadd(6, b0 + p.steps[k].b, p.b_stride);
        _tile_loadd(7, b1 + p.steps[k].b, p.b_stride);
        _tile_loadd(4, a0 + p.steps[k].a, p.a_stride);
        _tile_loadd(5, a1 + p.steps[k].a, p.a_stride);
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

 private:
  struct alignas(64) Config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  };
  Config before_;
};

#else

// `rows` rows of C times one or two columns of tiles, in registers.
template <int rows, int columns>
void MultiplyRows(const Product& p, const bf16* a, const bf16* b, float* const c[columns]) {
  __m512 sum[rows][columns] = {};
  for (int64_t k = 0; k < p.depth; ++k) {
    const auto* a_row = reinterpret_cast<const char*>(a + p.steps[k].a);
    const auto* b_row = reinterpret_cast<const char*>(b + p.steps[k].b);
    for (int pair = 0; pair < kDepth / 2; ++pair, b_row += p.b_stride) {
      __m512bh numbers[columns];
      for (int v = 0; v < columns; ++v) {
        numbers[v] = (__m512bh)_mm512_loadu_si512(b_row + v * p.b_column * sizeof(bf16));
      }
      for (int m = 0; m < rows; ++m) {
        int32_t both;
        std::memcpy(&both, a_row + m * p.a_stride + 4 * pair, sizeof(both));
        for (int v = 0; v < columns; ++v) {
          sum[m][v] = _mm512_dpbf16_ps(sum[m][v], (__m512bh)_mm512_set1_epi32(both), numbers[v]);
        }
      }
    }
  }
  for (int m = 0; m < rows; ++m) {
    for (int v = 0; v < columns; ++v) {
      _mm512_storeu_ps(reinterpret_cast<char*>(c[v]) + m * p.c_stride, sum[m][v]);
    }
  }
}

// As the tiles of matrix units.
class Tiles {
 public:
  explicit Tiles(int64_t height) : height_(height) {}

  void Multiply(const Product& p, const bf16* a0, const bf16* a1, int64_t n, float* c00,
                float* c10, float* c01, float* c11) const {
    const bf16* b = p.b + n * p.b_column;
    if (c01 == nullptr) {
      MultiplyTile<1>(p, a0, b, {c00});
      if (c10 != c00) MultiplyTile<1>(p, a1, b, {c10});
    } else {
      MultiplyTile<2>(p, a0, b, {c00, c01});
      if (c10 != c00) MultiplyTile<2>(p, a1, b, {c10, c11});
    }
  }

 private:
  static constexpr int kMostRows = 12;  // with two columns of 32 registers

  template <int columns>
  void MultiplyTile(const Product& p, const bf16* a, const bf16* b,
                    std::array<float*, columns> c) const {
    const int64_t group = GroupSize(height_, kMostRows);
    for (int64_t m = 0; m < height_; m += group) {
      const int64_t first = std::min(m, height_ - group);
      float* to[columns];
      for (int v = 0; v < columns; ++v) to[v] = c[v] + first * p.c_stride / sizeof(float);
      RowsOf<kMostRows, columns>(p, group, a + first * p.a_stride / sizeof(bf16), b, to);
    }
  }

  template <int rows, int columns>
  static void RowsOf(const Product& p, int64_t height, const bf16* a, const bf16* b,
                     float* const c[columns]) {
    if constexpr (rows > 0) {
      if (height < rows) return RowsOf<rows - 1, columns>(p, height, a, b, c);
      MultiplyRows<rows, columns>(p, a, b, c);
    }
  }

  int64_t height_;
};

#endif

}  // namespace dqnlab

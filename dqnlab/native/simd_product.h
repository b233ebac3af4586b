// Products in float32 with the vectors that the CPU has: one sum, C [rows, columns] += A B, of
// which a few rows and two vectors of columns stay in registers (Block). A and B are read where
// they lie.

#pragma once

#include "common.h"

namespace dqnlab {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 12;  // of 32 registers
#else
constexpr int kLanes = 8, kRows = 6;    // of 16
#endif
constexpr int kVectors = 2;
constexpr int64_t kColumns = kVectors * kLanes;

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float))));

inline Vector Load(const float* x) { return *(const Vector*)x; }

// C (m, n) = sum over i, k of A (m; i, k) B (i, k; n), each at i, k, m times its step; n is
// contiguous in B and C.
struct Product {
  int64_t outer, inner;
  int64_t a_row, a_outer, a_inner;
  int64_t b_outer, b_inner;
  int64_t c_row;
  bool adds;  // to what C holds
};

template <int rows, int vectors>
void Block(const Product& p, const float* a, const float* b, float* c) {
  Vector sum[rows][vectors];
  for (int m = 0; m < rows; ++m) {
    for (int v = 0; v < vectors; ++v) {
      sum[m][v] = p.adds ? *(const Vector*)(c + m * p.c_row + v * kLanes) : Vector{};
    }
  }
  for (int64_t i = 0; i < p.outer; ++i) {
    const float *ai = a + i * p.a_outer, *bi = b + i * p.b_outer;
    for (int64_t k = 0; k < p.inner; ++k, ai += p.a_inner, bi += p.b_inner) {
      Vector row[vectors];
      for (int v = 0; v < vectors; ++v) row[v] = *(const Vector*)(bi + v * kLanes);
      for (int m = 0; m < rows; ++m) {
        for (int v = 0; v < vectors; ++v) sum[m][v] += ai[m * p.a_row] * row[v];
      }
    }
  }
  for (int m = 0; m < rows; ++m) {
    for (int v = 0; v < vectors; ++v) *(Vector*)(c + m * p.c_row + v * kLanes) = sum[m][v];
  }
}

template <int rows>
void BlockOf(const Product& p, int64_t height, const float* a, const float* b, float* c,
             int64_t columns) {
  if constexpr (rows > 0) {
    if (height < rows) return BlockOf<rows - 1>(p, height, a, b, c, columns);
    if (columns >= kColumns) return Block<rows, kVectors>(p, a, b, c);
    return Block<rows, 1>(p, a, b, c);
  }
}

// All blocks of C [height, columns].
inline void Multiply(const Product& p, const float* a, const float* b, float* c, int64_t height,
                     int64_t columns) {
  const int64_t group = GroupSize(height, kRows);
  for (int64_t m = 0; m < height; m += group) {
    const int64_t rows = std::min(group, height - m);
    for (int64_t n = 0; n < columns; n += kColumns) {
      BlockOf<kRows>(p, rows, a + m * p.a_row, b + n, c + m * p.c_row + n, columns - n);
    }
  }
}

template <typename T>
void Convert(const T* x, int64_t count, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i];
}

}  // namespace dqnlab

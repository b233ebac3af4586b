// The matrices of Winograd's minimal filtering (Lavin and Gray, 1509.09308, section 4.1), for tiles
// of 4 x 4 pixels: F(3 x 3, 2 x 2) and F(2 x 2, 3 x 3).

#pragma once

#include "simd_product.h"

namespace dqnlab {

constexpr int kSide = 4, kPoints = kSide * kSide;

// Aligned as registers are: clang takes the vectors that templates point to for aligned.
typedef float Aligned __attribute__((vector_size(kLanes * sizeof(float))));
typedef Aligned Square[kSide][kSide];

// Each of a square's first `from` rows by `line`, then each of its first `to` columns.
template <int from, int to, typename Line>
inline __attribute__((always_inline)) void BothWays(const Line& line, Square& x) {
#pragma GCC unroll 4
  for (int i = 0; i < from; ++i) line(&x[i][0], 1);
#pragma GCC unroll 4
  for (int j = 0; j < to; ++j) line(&x[0][j], kSide);
}

// For a line of numbers that are `n` apart: 2 or 3 taps, 3 or 2 outputs.
template <int taps>
struct Lines {
  static void Input(Vector* x, int n) {  // B'
    const Vector a = x[0], b = x[n], c = x[2 * n], d = x[3 * n];
    x[0] = a - c, x[n] = b + c, x[2 * n] = c - b, x[3 * n] = b - d;
  }
  static void InputGradient(Vector* x, int n) {  // B
    const Vector a = x[0], b = x[n], c = x[2 * n], d = x[3 * n];
    x[0] = a, x[n] = b - c + d, x[2 * n] = b + c - a, x[3 * n] = -d;
  }
  static void Kernel(Vector* x, int n) {  // G
    const Vector a = x[0], b = x[n];
    if constexpr (taps == 2) {
      x[n] = 0.5f * (a + b), x[2 * n] = 0.5f * (a - b), x[3 * n] = b;
    } else {
      const Vector c = x[2 * n];
      x[n] = 0.5f * (a + c + b), x[2 * n] = 0.5f * (a + c - b), x[3 * n] = c;
    }
  }
  static void KernelGradient(Vector* x, int n) {  // G'
    const Vector sum = 0.5f * (x[n] + x[2 * n]), difference = 0.5f * (x[n] - x[2 * n]);
    x[0] += sum;
    if constexpr (taps == 2) {
      x[n] = difference + x[3 * n];
    } else {
      x[n] = difference, x[2 * n] = sum + x[3 * n];
    }
  }
  static void Output(Vector* x, int n) {  // A'
    const Vector b = x[n], c = x[2 * n];
    x[0] += b + c;
    if constexpr (taps == 2) {
      x[n] = b - c, x[2 * n] = b + c - x[3 * n];
    } else {
      x[n] = b - c - x[3 * n];
    }
  }
  static void OutputGradient(Vector* x, int n) {  // A
    const Vector a = x[0], b = x[n];
    if constexpr (taps == 2) {
      const Vector c = x[2 * n];
      x[n] = a + c + b, x[2 * n] = a + c - b, x[3 * n] = -c;
    } else {
      x[n] = a + b, x[2 * n] = a - b, x[3 * n] = -b;
    }
  }
};

// One number of each tile's 16 after the other: [16, rows, columns].
struct Points {
  float* data;
  int64_t step;  // not a power of two, which would meet in the cache

  Points(Purpose purpose, int64_t size) : step(size + kLanes) {
    data = Scratch<float>(purpose, kPoints * step);
  }
  float* operator[](int i) const { return data + i * step; }

  void Load(int64_t at, Square& x) const {
#pragma GCC unroll 16
    for (int i = 0; i < kPoints; ++i) x[i / kSide][i % kSide] = dqnlab::Load((*this)[i] + at);
  }
  void Store(const Square& x, int64_t at) const {
#pragma GCC unroll 16
    for (int i = 0; i < kPoints; ++i) *(Vector*)((*this)[i] + at) = x[i / kSide][i % kSide];
  }
};

}  // namespace dqnlab

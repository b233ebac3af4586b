// Dense layers in bfloat16 with float32 weights, which are rounded as they are read.

#pragma once

#include "bfloat16_tiles.h"

namespace dqnlab {

// y [B, N] = x [B, D] w [D, N]: each task reads some whole rows of w, once for each part of a large
// batch; then sums are added.
inline void DenseForward(ffi::ThreadPool& pool, int64_t batch, int64_t depth, int64_t n,
                         const bf16* x, const float* w, float* y) {
  constexpr int64_t kTaskDepth = 8 * kDepth, kTaskBatch = 16 * kRows;
  const int64_t parts = CeilDiv(depth, kTaskDepth), columns = n / kRows;
  const int64_t part_size = GroupSize(batch, kTaskBatch);
  const int64_t m = TileRows(part_size);
  std::vector<int64_t> offsets;
  for (int64_t k = 0; k < kTaskDepth; k += kDepth) offsets.push_back(k);
  const auto steps = StepsOf(offsets, columns);
  float* sums = parts == 1 ? y : Scratch<float>(kResult, parts * batch * n);
  Parallel(pool, parts * CeilDiv(batch, part_size), [&](int64_t task) {
    const int64_t part = task % parts, first = task / parts * part_size;
    const int64_t last = std::min(first + part_size, batch);
    const int64_t begin = part * kTaskDepth, end = std::min(begin + kTaskDepth, depth);
    bf16* packed = Scratch<bf16>(kWeights, (end - begin) * n);
    for (int64_t k = begin; k < end; k += 2) {
      bf16* to = packed + (k - begin) / kDepth * columns * kTile + (k - begin) % kDepth * kRows;
      for (int64_t column = 0; column < columns; ++column) {
        const float* from = w + k * n + column * kRows;
        _mm512_storeu_si512(to + column * kTile, Pairs(Load(from), Load(from + n)));
      }
    }
    const Product product = {packed, steps.data(), (end - begin) / kDepth, kTile,
                             depth * int64_t(sizeof(bf16)), kBytes, n * int64_t(sizeof(float))};
    const Tiles tiles(m);
    for (int64_t b = first; b < last; b += 2 * m) {
      const int64_t b0 = std::min(b, last - m), b1 = std::min(b + m, last - m);
      float *c0 = sums + (part * batch + b0) * n, *c1 = sums + (part * batch + b1) * n;
      const bf16 *a0 = x + b0 * depth + begin, *a1 = x + b1 * depth + begin;
      for (int64_t column = 0; column < columns; column += 2) {
        tiles.Multiply(product, a0, a1, column, c0 + column * kRows, c1 + column * kRows,
                       c0 + (column + 1) * kRows, c1 + (column + 1) * kRows);
      }
    }
  });
  for (int64_t i = 0; parts > 1 && i < batch * n; i += 16) {
    __m512 sum = _mm512_loadu_ps(sums + i);
    for (int64_t part = 1; part < parts; ++part) {
      sum = _mm512_add_ps(sum, _mm512_loadu_ps(sums + part * batch * n + i));
    }
    _mm512_storeu_ps(y + i, sum);
  }
}

// dx [B, D] = g [B, N] w^T, computed turned round: A are rows of w.
inline void DenseInputGradient(ffi::ThreadPool& pool, int64_t batch, int64_t depth, int64_t n,
                               const float* g, const float* w, float* dx) {
  const int64_t columns = CeilDiv(batch, kRows);
  std::vector<int64_t> offsets;
  for (int64_t k = 0; k < n; k += kDepth) offsets.push_back(k);
  bf16* packed = Scratch<bf16>(kPairs, n * columns * kRows);
  for (int64_t k = 0, at = 0; k < n; k += kDepth) {
    for (int64_t column = 0; column < columns; ++column, at += kTile) {
      bf16 rows[kRows][kDepth] = {};
      for (int64_t b = column * kRows; b < std::min(batch, (column + 1) * kRows); ++b) {
        Convert(g + b * n + k, kDepth, rows[b % kRows]);
      }
      __m512i r[16];
      for (int e = 0; e < kRows; ++e) r[e] = _mm512_loadu_si512(rows[e]);
      Transpose(r);
      for (int e = 0; e < kRows; ++e) _mm512_storeu_si512(packed + at + e * kDepth, r[e]);
    }
  }
  const auto steps = StepsOf(offsets, columns);
  const Product product = {packed, steps.data(), int64_t(steps.size()), kTile,
                           n * int64_t(sizeof(bf16)), kBytes, kBytes};
  Parallel(pool, CeilDiv(depth, 2 * kRows), [&](int64_t task) {
    const int64_t d0 = task * 2 * kRows, d1 = std::min(d0 + kRows, depth - kRows);
    bf16* rows = Scratch<bf16>(kImage, 2 * kRows * n);
    Convert(w + d0 * n, kRows * n, rows);
    Convert(w + d1 * n, kRows * n, rows + kRows * n);
    const Tiles tiles(kRows);
    for (int64_t column = 0; column < columns; ++column) {
      alignas(64) float c[2][kRows][kRows];
      tiles.Multiply(product, rows, rows + kRows * n, column, c[0][0], c[1][0], nullptr, nullptr);
      for (int part = 0; part < 2; ++part) {
        __m512i r[16];
        for (int e = 0; e < kRows; ++e) r[e] = _mm512_load_si512(c[part][e]);
        Transpose(r);
        for (int64_t e = 0; e < kRows && column * kRows + e < batch; ++e) {
          _mm512_storeu_si512(dx + (column * kRows + e) * depth + (part ? d1 : d0), r[e]);
        }
      }
    }
  });
}

// dw [D, N] = x^T g; a product sums over 32 elements of the batch.
inline void DenseWeightGradient(ffi::ThreadPool& pool, int64_t batch, int64_t depth, int64_t n,
                                const bf16* x, const float* g, float* dw) {
  const int64_t blocks = CeilDiv(batch, kDepth), columns = n / kRows;
  // [blocks, columns, 16, 16, 2]
  bf16* pairs = Scratch<bf16>(kPairs, blocks * n * kDepth);
  for (int64_t p = 0; p < blocks * kRows; ++p) {
    for (int64_t column = 0; column < columns; ++column) {
      bf16* to = pairs + (p / kRows * columns + column) * kTile + p % kRows * kDepth;
      const float* from = g + 2 * p * n + column * kRows;
      _mm512_storeu_si512(to, Pairs(2 * p < batch ? Load(from) : Zero(),
                                    2 * p + 1 < batch ? Load(from + n) : Zero()));
    }
  }
  std::vector<int64_t> offsets;
  for (int64_t block = 0; block < blocks; ++block) offsets.push_back(block * kTile);
  const auto steps = StepsOf(offsets, columns);
  const Product product = {pairs, steps.data(), blocks, kTile, kBytes, kBytes,
                           n * int64_t(sizeof(float))};
  Parallel(pool, CeilDiv(depth, 2 * kRows), [&](int64_t task) {
    const int64_t d0 = task * 2 * kRows, d1 = std::min(d0 + kRows, depth - kRows);
    bf16* turned = Scratch<bf16>(kTurned, 2 * blocks * kTile);
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t b = block * kDepth;
      TurnRound(x + b * depth + d0, batch - b, depth, turned + block * kTile);
      TurnRound(x + b * depth + d1, batch - b, depth, turned + (blocks + block) * kTile);
    }
    const Tiles tiles(kRows);
    for (int64_t column = 0; column < columns; column += 2) {
      float *c0 = dw + d0 * n + column * kRows, *c1 = dw + d1 * n + column * kRows;
      const bool is_pair = column + 1 < columns;
      tiles.Multiply(product, turned, turned + blocks * kTile, column, c0, c1,
               is_pair ? c0 + kRows : nullptr, is_pair ? c1 + kRows : nullptr);
    }
  });
}

// y [N, N] = x^T x of x [B, N]: what is right of the diagonal is computed, and copied to the left.
inline void DenseGram(ffi::ThreadPool& pool, int64_t batch, int64_t n, const float* x, float* y) {
  const int64_t blocks = CeilDiv(batch, kDepth), columns = n / kRows;
  bf16* pairs = Scratch<bf16>(kPairs, blocks * n * kDepth);   // [columns, blocks, 16, 16, 2]
  bf16* turned = Scratch<bf16>(kTurned, blocks * n * kDepth);  // the same, tiles turned round
  Parallel(pool, columns, [&](int64_t column) {
    for (int64_t block = 0; block < blocks; ++block) {
      __m512i r[16];
      const int64_t at = (column * blocks + block) * kTile;
      for (int64_t i = 0; i < kRows; ++i) {
        const int64_t b = block * kDepth + 2 * i;
        const float* from = x + b * n + column * kRows;
        r[i] = Pairs(b < batch ? Load(from) : Zero(), b + 1 < batch ? Load(from + n) : Zero());
        _mm512_storeu_si512(pairs + at + i * kDepth, r[i]);
      }
      Transpose(r);
      for (int i = 0; i < kRows; ++i) _mm512_storeu_si512(turned + at + i * kDepth, r[i]);
    }
  });
  std::vector<Product::Step> steps;
  for (int64_t block = 0; block < blocks; ++block) steps.push_back({block * kTile, block * kTile});
  const Product product = {pairs, steps.data(), blocks, blocks * kTile, kBytes, kBytes,
                           n * int64_t(sizeof(float))};
  Parallel(pool, columns / 2, [&](int64_t pair) {
    const Tiles tiles(kRows);
    const bf16* a = turned + 2 * pair * blocks * kTile;
    for (int64_t column = 2 * pair; column < columns; column += 2) {
      float* c0 = y + 2 * pair * kRows * n + column * kRows;
      float* c1 = c0 + kRows * n;
      tiles.Multiply(product, a, a + blocks * kTile, column, c0, c1, c0 + kRows, c1 + kRows);
    }
  });
  for (int64_t row = 0; row < columns; ++row) {
    for (int64_t column = 0; column < row; ++column) {
      __m512i r[16];
      for (int i = 0; i < kRows; ++i) {
        r[i] = _mm512_loadu_si512(y + (column * kRows + i) * n + row * kRows);
      }
      Transpose(r);
      for (int i = 0; i < kRows; ++i) {
        _mm512_storeu_si512(y + (row * kRows + i) * n + column * kRows, r[i]);
      }
    }
  }
}

}  // namespace dqnlab

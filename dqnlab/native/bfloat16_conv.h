// Convolution in bfloat16. All three read what XLA gives them where it lies, as far as tiles can:
//
//   forward          A: the pixels of an output row, as they are in the input (s * C numbers from
//                    one to the next).  B: the kernel.
//   input gradient   the same, of the padded output gradient with the kernel turned round; its
//                    channels are the s x s pixels that one place of the output looks at.
//   weight gradient  sums over 32 images at one pixel.  A: the output gradient with images last.
//                    B: the input with pairs of images side by side.

#pragma once

#include <utility>

#include "bfloat16_tiles.h"

namespace dqnlab {

// All columns of a picture: pixel (y, x) of height * width has its A at
// a + y * row + x * a_stride; its C at place(y, n) + x * c_stride.
template <typename Place>
void MultiplyPixels(const Product& p, int64_t columns, const bf16* a, int64_t row, int64_t height,
                    int64_t width, const Place& place) {
  const int64_t m = TileRows(width), across = CeilDiv(width, m), units = height * across;
  const int64_t a_step = p.a_stride / sizeof(bf16), c_step = p.c_stride / sizeof(float);
  const Tiles tiles(m);
  for (int64_t n = 0; n < columns; n += 2) {
    for (int64_t u = 0; u < units; u += 2) {
      const int64_t v = std::min(u + 1, units - 1);  // an odd one out is computed twice
      const int64_t y0 = u / across, x0 = std::min(u % across * m, width - m);
      const int64_t y1 = v / across, x1 = std::min(v % across * m, width - m);
      const bool is_pair = n + 1 < columns;
      tiles.Multiply(p, a + y0 * row + x0 * a_step, a + y1 * row + x1 * a_step, n,
                     place(y0, n) + x0 * c_step, place(y1, n) + x1 * c_step,
                     is_pair ? place(y0, n + 1) + x0 * c_step : nullptr,
                     is_pair ? place(y1, n + 1) + x1 * c_step : nullptr);
    }
  }
}

template <typename T>
void ConvForward(ffi::ThreadPool& pool, const Shape& s, const T* x, const float* w, float* y) {
  const int64_t run = s.kw * s.c;  // numbers of a row of the kernel, side by side in x too
  const int64_t columns = s.n / kRows;
  std::vector<int64_t> offsets;
  for (int64_t i = 0; i < s.kh; ++i) {
    for (int64_t k = 0; k < run; k += kDepth) offsets.push_back(i * s.w() * s.c + k);
  }
  bf16* packed = Scratch<bf16>(kWeights, offsets.size() * columns * kTile);
  bf16* to = packed;
  for (int64_t i = 0; i < s.kh; ++i) {
    for (int64_t k = 0; k < run; k += kDepth) {
      for (int64_t n = 0; n < s.n; n += kRows) {
        for (int64_t j = k; j < k + kDepth; j += 2, to += kDepth) {
          const float* from = w + (i * run + j) * s.n + n;
          _mm512_storeu_si512(to, Pairs(j < run ? Load(from) : Zero(),
                                        j + 1 < run ? Load(from + s.n) : Zero()));
        }
      }
    }
  }
  const int64_t size = s.hx * s.wx * s.c, padded_size = s.h() * s.w() * s.c;
  const auto steps = StepsOf(offsets, columns);
  const Product product = {packed, steps.data(), int64_t(steps.size()), kTile,
                           s.s * s.c * int64_t(sizeof(bf16)), kBytes,
                           s.n * int64_t(sizeof(float))};
  const bool is_ready = std::is_same_v<T, bf16> && !s.IsPadded() && run % kDepth == 0;
  Parallel(pool, s.b, [&](int64_t b) {
    const bf16* image = reinterpret_cast<const bf16*>(x) + b * size;
    if (!is_ready) {
      bf16* copy = Scratch<bf16>(kImage, padded_size);
      if (s.IsPadded()) std::memset(copy, 0, padded_size * sizeof(bf16));
      std::memset(copy + padded_size, 0, kBytes);  // read, and multiplied by 0: no NaN may be there
      EachRow(s, [&](int64_t from, int64_t to, int64_t count) {
        Convert(x + b * size + from, count, copy + to);
      });
      image = copy;
    }
    float* out = y + b * s.ho * s.wo * s.n;
    MultiplyPixels(product, columns, image, s.s * s.w() * s.c, s.ho, s.wo,
                   [&](int64_t y, int64_t n) { return out + y * s.wo * s.n + n * kRows; });
  });
}

inline void ConvInputGradient(ffi::ThreadPool& pool, const Shape& s, const float* g,
                              const float* w, bf16* dx) {
  const int64_t th = s.kh / s.s, tw = s.kw / s.s, run = tw * s.n;
  const int64_t hg = s.ho + 2 * (th - 1), wg = s.wo + 2 * (tw - 1);  // padded gradient
  const int64_t columns = s.s * s.s * s.c / kRows, per_pixel = s.c / kRows;
  std::vector<int64_t> offsets;
  for (int64_t i = 0; i < th; ++i) {
    for (int64_t k = 0; k < run; k += kDepth) offsets.push_back(i * wg * s.n + k);
  }
  // Column n belongs to pixel (n / per_pixel) of the s x s, its channels from n % per_pixel * 16.
  const auto pixel = [&](int64_t n) {
    return std::pair(n / per_pixel / s.s, n / per_pixel % s.s);
  };
  bf16* packed = Scratch<bf16>(kWeights, offsets.size() * columns * kTile);
  bf16* to = packed;
  for (int64_t i = 0; i < th; ++i) {
    for (int64_t k = 0; k < run; k += kDepth) {
      for (int64_t column = 0; column < columns; ++column) {
        const auto [y, x] = pixel(column);
        for (int64_t j = k; j < k + kDepth; j += 2, to += kDepth) {
          if (j >= run) {
            std::memset(to, 0, kBytes);
            continue;
          }
          const int64_t ky = (th - 1 - i) * s.s + y, kx = (tw - 1 - j / s.n) * s.s + x;
          const int64_t c = column % per_pixel * kRows;
          const float* from = w + ((ky * s.kw + kx) * s.c + c) * s.n + j % s.n;
          for (int64_t e = 0; e < kRows; ++e) {
            to[2 * e] = Round(from[e * s.n]);
            to[2 * e + 1] = Round(from[e * s.n + 1]);
          }
        }
      }
    }
  }
  const auto steps = StepsOf(offsets, columns);
  const Product product = {packed, steps.data(), int64_t(steps.size()), kTile,
                           s.n * int64_t(sizeof(bf16)), kBytes,
                           s.s * s.c * int64_t(sizeof(float))};
  const int64_t size = s.hx * s.wx * s.c;
  Parallel(pool, s.b, [&](int64_t b) {
    bf16* padded = Scratch<bf16>(kImage, hg * wg * s.n);
    std::memset(padded, 0, hg * wg * s.n * sizeof(bf16) + kBytes);
    for (int64_t y = 0; y < s.ho; ++y) {
      Convert(g + (b * s.ho + y) * s.wo * s.n, s.wo * s.n,
              padded + ((y + th - 1) * wg + tw - 1) * s.n);
    }
    float* out = Scratch<float>(kResult, s.h() * s.w() * s.c);
    MultiplyPixels(product, columns, padded, wg * s.n, s.ho + th - 1, s.wo + tw - 1,
                   [&](int64_t y, int64_t n) {
                     const auto [dy, dx] = pixel(n);
                     return out + ((y * s.s + dy) * s.w() + dx) * s.c + n % per_pixel * kRows;
                   });
    if (s.IsPadded()) std::memset(dx + b * size, 0, size * sizeof(bf16));
    EachRow(s, [&](int64_t to, int64_t from, int64_t count) {
      Convert(out + from, count, dx + b * size + to);
    });
  });
}

// dw [kh, kw, C, N].
template <typename T>
void ConvWeightGradient(ffi::ThreadPool& pool, const Shape& s, const T* x, const float* g,
                        float* dw) {
  const int64_t blocks = CeilDiv(s.b, kDepth);  // of images
  const int64_t size = s.hx * s.wx * s.c, padded_size = s.h() * s.w() * s.c;
  // [blocks, 16, h, w, C, 2], pairs of images not a power of two apart.
  const int64_t pitch = 2 * padded_size + kDepth;
  bf16* pairs = Scratch<bf16>(kPairs, blocks * kRows * pitch);
  Parallel(pool, blocks * kRows, [&](int64_t p) {
    bf16* to = pairs + p * pitch;
    const T* x0 = x + 2 * p * size;
    if (2 * p >= s.b || s.IsPadded()) std::memset(to, 0, pitch * sizeof(bf16));
    if (2 * p >= s.b) return;
    EachRow(s, [&](int64_t from, int64_t at, int64_t count) {
      const T* x1 = 2 * p + 1 < s.b ? x0 + size + from : nullptr;
      ConvertPairs(x0 + from, x1, count, to + 2 * at);
    });
  });
  // [pixels, blocks, N, 32]
  const int64_t pixels = s.ho * s.wo;
  bf16* turned = Scratch<bf16>(kTurned, pixels * blocks * s.n * kDepth);
  Parallel(pool, s.ho, [&](int64_t row) {
    for (int64_t p = row * s.wo; p < (row + 1) * s.wo; ++p) {
      for (int64_t block = 0; block < blocks; ++block) {
        for (int64_t n = 0; n < s.n; n += kRows) {
          const int64_t b = block * kDepth;
          TurnRound(g + (b * pixels + p) * s.n + n, s.b - b, pixels * s.n,
                    turned + ((p * blocks + block) * s.n + n) * kDepth);
        }
      }
    }
  });
  std::vector<Product::Step> steps;
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t corner = (p / s.wo * s.w() + p % s.wo) * s.s * s.c;
      steps.push_back({(p * blocks + block) * s.n * kDepth, 2 * corner + block * kRows * pitch});
    }
  }
  // C [N, 16 numbers of a row of the kernel], four tiles at a time.
  const int64_t run = s.kw * s.c, in_run = CeilDiv(run, kRows), columns = s.n / kRows;
  const int64_t run_tasks = CeilDiv(in_run, 2), column_tasks = CeilDiv(columns, 2);
  Parallel(pool, s.kh * run_tasks * column_tasks, [&](int64_t task) {
    const int64_t i = task / column_tasks / run_tasks;
    const int64_t k0 = task / column_tasks % run_tasks * 2, k1 = std::min(k0 + 1, in_run - 1);
    const int64_t n0 = task % column_tasks * 2, n1 = std::min(n0 + 1, columns - 1);
    alignas(64) float c[4][kRows][kRows];
    const Product product = {pairs + 2 * i * s.w() * s.c, steps.data(), int64_t(steps.size()),
                             kDepth, kBytes, pitch * int64_t(sizeof(bf16)), kBytes};
    const Tiles tiles(kRows);
    const int64_t other = n1 > n0 ? 1 : 0;  // an odd one out goes to its own place twice
    tiles.Multiply(product, turned + n0 * kTile, turned + n1 * kTile, k0, c[0][0], c[other][0],
                   k1 > k0 ? c[2][0] : nullptr, c[2 + other][0]);
    for (int64_t k = k0; k <= k1; ++k) {
      for (int64_t n = n0; n <= n1; ++n) {
        __m512i r[16];
        for (int e = 0; e < kRows; ++e) r[e] = _mm512_load_si512(c[2 * (k - k0) + n - n0][e]);
        Transpose(r);
        for (int64_t e = 0; e < kRows && k * kRows + e < run; ++e) {
          _mm512_storeu_si512(dw + (i * run + k * kRows + e) * s.n + n * kRows, r[e]);
        }
      }
    }
  });
}

}  // namespace dqnlab

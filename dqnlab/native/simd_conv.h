// Convolution in float32, each of its three parts one Product:
//
//   forward          A: pixels of an output row, their numbers in the input.  B: the kernel.
//   input gradient   the same, of the padded output gradient with the kernel turned round; its
//                    channels are the s x s pixels that one place of the output looks at.
//   weight gradient  A: numbers of the input that meet one row of the kernel.  B: the output
//                    gradient; the sum goes over pixels.

#pragma once

#include <type_traits>

#include "simd_product.h"

namespace dqnlab {

constexpr int64_t kImagesPerTask = 4;

// Images as float32 with their padding; x itself where it is that already.
template <typename T>
const float* Images(const Shape& s, const T* x, int64_t first, int64_t count) {
  const int64_t from_size = s.hx * s.wx * s.c, size = s.h() * s.w() * s.c;
  x += first * from_size;
  if (std::is_same_v<T, float> && !s.IsPadded()) return reinterpret_cast<const float*>(x);
  count = std::min(count, s.b - first);
  float* copy = Scratch<float>(kImage, count * size);
  if (s.IsPadded()) std::memset(copy, 0, count * size * sizeof(float));
  for (int64_t b = 0; b < count; ++b) {
    EachRow(s, [&](int64_t from, int64_t to, int64_t numbers) {
      Convert(x + b * from_size + from, numbers, copy + b * size + to);
    });
  }
  return copy;
}

// What is left of an image's gradient without its padding.
inline void Unpad(const Shape& s, const float* padded, float* dx) {
  std::memset(dx, 0, s.hx * s.wx * s.c * sizeof(float));
  EachRow(s, [&](int64_t to, int64_t from, int64_t count) {
    std::memcpy(dx + to, padded + from, count * sizeof(float));
  });
}

template <typename T>
void ConvForward(ffi::ThreadPool& pool, const Shape& s, const T* x, const float* w, float* y) {
  const int64_t run = s.kw * s.c, row = s.w() * s.c;
  const Product p = {s.kh, run, s.s * s.c, row, 1, run * s.n, s.n, s.n, false};
  Parallel(pool, s.b, [&](int64_t b) {
    const float* image = Images(s, x, b, 1);
    for (int64_t i = 0; i < s.ho; ++i) {
      Multiply(p, image + i * s.s * row, w, y + (b * s.ho + i) * s.wo * s.n, s.wo, s.n);
    }
  });
}

inline void ConvInputGradient(ffi::ThreadPool& pool, const Shape& s, const float* g,
                              const float* w, float* dx) {
  const int64_t th = s.kh / s.s, tw = s.kw / s.s, run = tw * s.n;
  const int64_t hg = s.ho + 2 * (th - 1), wg = s.wo + 2 * (tw - 1);  // padded gradient
  // The kernel turned round, one for each of the s x s pixels: [s, s, th, tw, N, C].
  float* turned = Scratch<float>(kWeights, s.kh * s.kw * s.c * s.n);
  float* to = turned;
  for (int64_t pixel = 0; pixel < s.s * s.s; ++pixel) {
    for (int64_t i = 0; i < th; ++i) {
      for (int64_t j = 0; j < tw; ++j) {
        const int64_t ky = (th - 1 - i) * s.s + pixel / s.s;
        const int64_t kx = (tw - 1 - j) * s.s + pixel % s.s;
        const float* from = w + (ky * s.kw + kx) * s.c * s.n;
        for (int64_t n = 0; n < s.n; ++n) {
          for (int64_t c = 0; c < s.c; ++c) *to++ = from[c * s.n + n];
        }
      }
    }
  }
  const Product p = {th, run, s.n, wg * s.n, 1, run * s.c, s.c, s.s * s.c, false};
  const int64_t size = s.hx * s.wx * s.c;
  Parallel(pool, s.b, [&](int64_t b) {
    float* padded = Scratch<float>(kTurned, hg * wg * s.n);
    std::memset(padded, 0, hg * wg * s.n * sizeof(float));
    for (int64_t y = 0; y < s.ho; ++y) {
      std::memcpy(padded + ((y + th - 1) * wg + tw - 1) * s.n, g + (b * s.ho + y) * s.wo * s.n,
                  s.wo * s.n * sizeof(float));
    }
    float* out = s.IsPadded() ? Scratch<float>(kResult, s.h() * s.w() * s.c) : dx + b * size;
    for (int64_t y = 0; y < s.ho + th - 1; ++y) {
      for (int64_t pixel = 0; pixel < s.s * s.s; ++pixel) {
        const int64_t at = (y * s.s + pixel / s.s) * s.w() + pixel % s.s;
        Multiply(p, padded + y * wg * s.n, turned + pixel * th * run * s.c, out + at * s.c,
                 s.wo + tw - 1, s.c);
      }
    }
    if (s.IsPadded()) Unpad(s, out, dx + b * size);
  });
}

template <typename T>
void ConvWeightGradient(ffi::ThreadPool& pool, const Shape& s, const T* x, const float* g,
                        float* dw) {
  const int64_t run = s.kw * s.c, row = s.w() * s.c, size = s.kh * run * s.n;
  const int64_t tasks = CeilDiv(s.b, kImagesPerTask);
  Product p = {s.ho, s.wo, 1, s.s * row, s.s * s.c, s.wo * s.n, s.n, s.n, false};
  if (tasks == 0) std::memset(dw, 0, size * sizeof(float));
  float* sums = tasks > 1 ? Scratch<float>(kResult, tasks * size) : dw;
  Parallel(pool, tasks, [&](int64_t task) {
    Product q = p;
    for (int64_t b = task * kImagesPerTask; b < std::min(s.b, (task + 1) * kImagesPerTask); ++b) {
      const float* image = Images(s, x, b, 1);
      for (int64_t i = 0; i < s.kh; ++i) {
        Multiply(q, image + i * row, g + b * s.ho * s.wo * s.n,
                 sums + task * size + i * run * s.n, run, s.n);
      }
      q.adds = true;
    }
  });
  if (tasks <= 1) return;
  Parallel(pool, s.kh, [&](int64_t i) {
    for (int64_t k = i * run * s.n; k < (i + 1) * run * s.n; k += kLanes) {
      Vector sum = *(const Vector*)(sums + k);
      for (int64_t task = 1; task < tasks; ++task) sum += *(const Vector*)(sums + task * size + k);
      *(Vector*)(dw + k) = sum;
    }
  });
}

}  // namespace dqnlab

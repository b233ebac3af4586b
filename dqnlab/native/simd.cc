// Convolutions in float32 with the vectors that the CPU has, for XLA to call.
//
// Everything is one sum, C [rows, columns] += A B, of which a few rows and two vectors of columns
// stay in registers (Block). A and B are read where they lie:
//
//   forward          A: pixels of an output row, their numbers in the input.  B: the kernel.
//   input gradient   the same, of the padded output gradient with the kernel turned round; its
//                    channels are the s x s pixels that one place of the output looks at.
//   weight gradient  A: numbers of the input that meet one row of the kernel.  B: the output
//                    gradient; the sum goes over pixels.
//
// Sums are taken in the same order whatever the number of threads.

#include <utility>
#include <vector>

#include "common.h"

namespace {

using namespace dqnlab;

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 12;  // of 32 registers
#else
constexpr int kLanes = 8, kRows = 6;    // of 16
#endif
constexpr int kVectors = 2;
constexpr int64_t kColumns = kVectors * kLanes;
constexpr int64_t kImagesPerTask = 4;

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float))));

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
void Multiply(const Product& p, const float* a, const float* b, float* c, int64_t height,
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

// An image as float32 with its padding; itself where it is that already.
template <typename T>
const float* Image(const Shape& s, const T* x) {
  if (std::is_same_v<T, float> && !s.IsPadded()) return reinterpret_cast<const float*>(x);
  float* copy = Scratch<float>(kImage, s.h() * s.w() * s.c);
  if (s.IsPadded()) std::memset(copy, 0, s.h() * s.w() * s.c * sizeof(float));
  EachRow(s, [&](int64_t from, int64_t to, int64_t count) { Convert(x + from, count, copy + to); });
  return copy;
}

template <typename T>
void Forward(ffi::ThreadPool& pool, const Shape& s, const T* x, const float* w, float* y) {
  const int64_t run = s.kw * s.c, row = s.w() * s.c;
  const Product p = {s.kh, run, s.s * s.c, row, 1, run * s.n, s.n, s.n, false};
  Parallel(pool, s.b, [&](int64_t b) {
    const float* image = Image(s, x + b * s.hx * s.wx * s.c);
    for (int64_t i = 0; i < s.ho; ++i) {
      Multiply(p, image + i * s.s * row, w, y + (b * s.ho + i) * s.wo * s.n, s.wo, s.n);
    }
  });
}

void InputGradient(ffi::ThreadPool& pool, const Shape& s, const float* g, const float* w,
                   float* dx) {
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
    if (s.IsPadded()) {
      std::memset(dx + b * size, 0, size * sizeof(float));
      EachRow(s, [&](int64_t to, int64_t from, int64_t count) {
        std::memcpy(dx + b * size + to, out + from, count * sizeof(float));
      });
    }
  });
}

template <typename T>
void WeightGradient(ffi::ThreadPool& pool, const Shape& s, const T* x, const float* g,
                    float* dw) {
  const int64_t run = s.kw * s.c, row = s.w() * s.c, size = s.kh * run * s.n;
  const int64_t tasks = CeilDiv(s.b, kImagesPerTask);
  Product p = {s.ho, s.wo, 1, s.s * row, s.s * s.c, s.wo * s.n, s.n, s.n, false};
  if (tasks == 0) std::memset(dw, 0, size * sizeof(float));
  float* sums = tasks > 1 ? Scratch<float>(kResult, tasks * size) : dw;
  Parallel(pool, tasks, [&](int64_t task) {
    Product q = p;
    for (int64_t b = task * kImagesPerTask; b < std::min(s.b, (task + 1) * kImagesPerTask); ++b) {
      const float* image = Image(s, x + b * s.hx * s.wx * s.c);
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

// f(x) with x as it is stored: bytes or float32.
template <typename F>
ffi::Error WithType(ffi::AnyBuffer x, const F& f) {
  if (x.element_type() == ffi::U8) {
    f(x.typed_data<uint8_t>());
  } else if (x.element_type() == ffi::F32) {
    f(x.typed_data<float>());
  } else {
    return ffi::Error::InvalidArgument("input must be uint8 or float32");
  }
  return ffi::Error::Success();
}

ffi::Error CallForward(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 w, Result y, int64_t stride,
                       int64_t top, int64_t left) {
  const Shape s = ShapeOf(x.dimensions(), w.dimensions(), y->dimensions(), stride, top, left);
  return WithType(x, [&](auto* data) {
    Forward(pool, s, data, w.typed_data(), y->typed_data());
  });
}

ffi::Error CallInputGradient(ffi::ThreadPool pool, F32 g, F32 w, Result dx, int64_t stride,
                             int64_t top, int64_t left) {
  const Shape s = ShapeOf(dx->dimensions(), w.dimensions(), g.dimensions(), stride, top, left);
  InputGradient(pool, s, g.typed_data(), w.typed_data(), dx->typed_data());
  return ffi::Error::Success();
}

ffi::Error CallWeightGradient(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 g, Result dw,
                              int64_t stride, int64_t top, int64_t left) {
  const Shape s = ShapeOf(x.dimensions(), dw->dimensions(), g.dimensions(), stride, top, left);
  return WithType(x, [&](auto* data) {
    WeightGradient(pool, s, data, g.typed_data(), dw->typed_data());
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_conv_float32_forward, CallForward,
                              WithGeometry(Call().Arg<ffi::AnyBuffer>().Arg<F32>().Ret<F32>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_conv_float32_input_gradient, CallInputGradient,
                              WithGeometry(Call().Arg<F32>().Arg<F32>().Ret<F32>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_conv_float32_weight_gradient, CallWeightGradient,
                              WithGeometry(Call().Arg<ffi::AnyBuffer>().Arg<F32>().Ret<F32>()));

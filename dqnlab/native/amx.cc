// Convolutions, dense layers and max-pooling in bfloat16 on the matrix units of x86 CPUs (AMX), for XLA to call.
//
// A tile holds 16 rows of 64 bytes. One product adds A [16, 32] times B [32, 16] to C [16, 16]: A
// and B in bfloat16, C in float32; B lies in memory with each two of its rows as one row of pairs.
// So all that has to be done is to find, or to make, numbers that lie like that:
//
//   forward          A: the pixels of an output row, as they are in the input (s * C numbers from
//                    one to the next).  B: the kernel.
//   input gradient   the same, of the padded output gradient with the kernel turned round; its
//                    channels are the s x s pixels that one place of the output looks at.
//   weight gradient  sums over 32 images at one pixel.  A: the output gradient with images last.
//                    B: the input with pairs of images side by side.
//
// Sums are taken in the same order whatever the number of threads.

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "common.h"

namespace {

using namespace dqnlab;

using bf16 = uint16_t;

constexpr int kRows = 16;               // of a tile, at most
constexpr int kBytes = 64;              // of a row
constexpr int kDepth = 32;              // numbers of a row: what one product sums over
constexpr int kTile = kRows * kDepth;   // numbers of a tile

int64_t TileRows(int64_t count) { return GroupSize(count, kRows); }

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
void Transpose(__m512i r[16]) {
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

// All columns of a picture: pixel (y, x) of height * width has its A at
// a + y * row + x * a_stride; its C at place(y, n) + x * c_stride.
template <typename Place>
void MultiplyPixels(const Product& p, const bf16* a, int64_t row, int64_t height, int64_t width,
                    const Place& place) {
  const int64_t m = TileRows(width), across = CeilDiv(width, m), units = height * across;
  const int64_t a_step = p.a_stride / sizeof(bf16), c_step = p.c_stride / sizeof(float);
  const Tiles tiles(m);
  for (int64_t n = 0; n < p.columns; n += 2) {
    for (int64_t u = 0; u < units; u += 2) {
      const int64_t v = std::min(u + 1, units - 1);  // an odd one out is computed twice
      const int64_t y0 = u / across, x0 = std::min(u % across * m, width - m);
      const int64_t y1 = v / across, x1 = std::min(v % across * m, width - m);
      const bool is_pair = n + 1 < p.columns;
      Multiply(p, a + y0 * row + x0 * a_step, a + y1 * row + x1 * a_step, n,
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
  const Product product = {packed, offsets.data(), int64_t(offsets.size()), columns,
                           s.s * s.c * int64_t(sizeof(bf16)), s.n * int64_t(sizeof(float))};
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
    MultiplyPixels(product, image, s.s * s.w() * s.c, s.ho, s.wo,
                   [&](int64_t y, int64_t n) { return out + y * s.wo * s.n + n * kRows; });
  });
}

void ConvInputGradient(ffi::ThreadPool& pool, const Shape& s, const float* g, const float* w,
                       bf16* dx) {
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
  const Product product = {packed, offsets.data(), int64_t(offsets.size()), columns,
                           s.n * int64_t(sizeof(bf16)), s.s * s.c * int64_t(sizeof(float))};
  const int64_t size = s.hx * s.wx * s.c;
  Parallel(pool, s.b, [&](int64_t b) {
    bf16* padded = Scratch<bf16>(kImage, hg * wg * s.n);
    std::memset(padded, 0, hg * wg * s.n * sizeof(bf16) + kBytes);
    for (int64_t y = 0; y < s.ho; ++y) {
      Convert(g + (b * s.ho + y) * s.wo * s.n, s.wo * s.n,
              padded + ((y + th - 1) * wg + tw - 1) * s.n);
    }
    float* out = Scratch<float>(kResult, s.h() * s.w() * s.c);
    MultiplyPixels(product, padded, wg * s.n, s.ho + th - 1, s.wo + tw - 1,
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
  // C [N, 16 numbers of a row of the kernel], four tiles at a time.
  const int64_t run = s.kw * s.c, in_run = CeilDiv(run, kRows), columns = s.n / kRows;
  const int64_t run_tasks = CeilDiv(in_run, 2), column_tasks = CeilDiv(columns, 2);
  Parallel(pool, s.kh * run_tasks * column_tasks, [&](int64_t task) {
    const int64_t i = task / column_tasks / run_tasks;
    const int64_t k0 = task / column_tasks % run_tasks * 2, k1 = std::min(k0 + 1, in_run - 1);
    const int64_t n0 = task % column_tasks * 2, n1 = std::min(n0 + 1, columns - 1);
    alignas(64) float c[4][kRows][kRows];
    {
      const Tiles tiles(kRows);
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      const bf16* a = turned;
      for (int64_t y = 0; y < s.ho; ++y) {
        for (int64_t xx = 0; xx < s.wo; ++xx) {
          const bf16* b = pairs + 2 * ((y * s.s + i) * s.w() + xx * s.s) * s.c;
          for (int64_t block = 0; block < blocks; ++block) {
            _tile_loadd(4, a + n0 * kTile, kBytes);
            _tile_loadd(5, a + n1 * kTile, kBytes);
            _tile_loadd(6, b + k0 * kDepth, pitch * sizeof(bf16));
            _tile_loadd(7, b + k1 * kDepth, pitch * sizeof(bf16));
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 5, 6);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
            a += s.n * kDepth;
            b += kRows * pitch;
          }
        }
      }
      _tile_stored(0, c[0], kBytes);
      _tile_stored(1, c[1], kBytes);
      _tile_stored(2, c[2], kBytes);
      _tile_stored(3, c[3], kBytes);
    }
    for (int part = 0; part < 4; ++part) {
      const int64_t n = part % 2 ? n1 : n0, k = part / 2 ? k1 : k0;
      __m512i r[16];
      for (int e = 0; e < kRows; ++e) r[e] = _mm512_load_si512(c[part][e]);
      Transpose(r);
      for (int64_t e = 0; e < kRows && k * kRows + e < run; ++e) {
        _mm512_storeu_si512(dw + (i * run + k * kRows + e) * s.n + n * kRows, r[e]);
      }
    }
  });
}

// y [B, N] = x [B, D] w [D, N]: each task reads some whole rows of w, once; then sums are added.
void DenseForward(ffi::ThreadPool& pool, int64_t batch, int64_t depth, int64_t n, const bf16* x,
                  const float* w, float* y) {
  constexpr int64_t kTaskDepth = 8 * kDepth;
  const int64_t tasks = CeilDiv(depth, kTaskDepth), columns = n / kRows;
  const int64_t m = TileRows(batch);
  std::vector<int64_t> offsets;
  for (int64_t k = 0; k < kTaskDepth; k += kDepth) offsets.push_back(k);
  float* sums = Scratch<float>(kResult, tasks * batch * n);
  Parallel(pool, tasks, [&](int64_t task) {
    const int64_t begin = task * kTaskDepth, end = std::min(begin + kTaskDepth, depth);
    bf16* packed = Scratch<bf16>(kWeights, (end - begin) * n);
    for (int64_t k = begin; k < end; k += 2) {
      bf16* to = packed + (k - begin) / kDepth * columns * kTile + (k - begin) % kDepth * kRows;
      for (int64_t column = 0; column < columns; ++column) {
        const float* from = w + k * n + column * kRows;
        _mm512_storeu_si512(to + column * kTile, Pairs(Load(from), Load(from + n)));
      }
    }
    const Product product = {packed, offsets.data(), (end - begin) / kDepth, columns,
                             depth * int64_t(sizeof(bf16)), n * int64_t(sizeof(float))};
    const Tiles tiles(m);
    for (int64_t b = 0; b < batch; b += 2 * m) {
      const int64_t b0 = std::min(b, batch - m), b1 = std::min(b + m, batch - m);
      float *c0 = sums + (task * batch + b0) * n, *c1 = sums + (task * batch + b1) * n;
      const bf16 *a0 = x + b0 * depth + begin, *a1 = x + b1 * depth + begin;
      for (int64_t column = 0; column < columns; column += 2) {
        Multiply(product, a0, a1, column, c0 + column * kRows, c1 + column * kRows,
                 c0 + (column + 1) * kRows, c1 + (column + 1) * kRows);
      }
    }
  });
  for (int64_t i = 0; i < batch * n; i += 16) {
    __m512 sum = _mm512_loadu_ps(sums + i);
    for (int64_t task = 1; task < tasks; ++task) {
      sum = _mm512_add_ps(sum, _mm512_loadu_ps(sums + task * batch * n + i));
    }
    _mm512_storeu_ps(y + i, sum);
  }
}

// dx [B, D] = g [B, N] w^T, computed turned round: A are rows of w.
void DenseInputGradient(ffi::ThreadPool& pool, int64_t batch, int64_t depth, int64_t n,
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
  const Product product = {packed, offsets.data(), int64_t(offsets.size()), columns,
                           n * int64_t(sizeof(bf16)), kBytes};
  Parallel(pool, CeilDiv(depth, 2 * kRows), [&](int64_t task) {
    const int64_t d0 = task * 2 * kRows, d1 = std::min(d0 + kRows, depth - kRows);
    bf16* rows = Scratch<bf16>(kImage, 2 * kRows * n);
    Convert(w + d0 * n, kRows * n, rows);
    Convert(w + d1 * n, kRows * n, rows + kRows * n);
    const Tiles tiles(kRows);
    for (int64_t column = 0; column < columns; ++column) {
      alignas(64) float c[2][kRows][kRows];
      Multiply(product, rows, rows + kRows * n, column, c[0][0], c[1][0], nullptr, nullptr);
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
void DenseWeightGradient(ffi::ThreadPool& pool, int64_t batch, int64_t depth, int64_t n,
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
  const Product product = {pairs, offsets.data(), blocks, columns, kBytes,
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
      Multiply(product, turned, turned + blocks * kTile, column, c0, c1,
               is_pair ? c0 + kRows : nullptr, is_pair ? c1 + kRows : nullptr);
    }
  });
}

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
void PoolForward(ffi::ThreadPool& pool, const Pooling& p, const bf16* x, bf16* y, uint8_t* place) {
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
void PoolGradient(ffi::ThreadPool& pool, const Pooling& p, const bf16* g, const uint8_t* place,
                  bf16* dx) {
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

using BF16 = ffi::Buffer<ffi::BF16>;
// f(x) with x as it is stored: bytes or bfloat16.
template <typename F>
ffi::Error WithType(ffi::AnyBuffer x, const F& f) {
  if (x.element_type() == ffi::U8) {
    f(x.typed_data<uint8_t>());
  } else if (x.element_type() == ffi::BF16) {
    f(static_cast<const bf16*>(x.untyped_data()));
  } else {
    return ffi::Error::InvalidArgument("input must be uint8 or bfloat16");
  }
  return ffi::Error::Success();
}

ffi::Error CallConvForward(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 w, Result y,
                           int64_t stride, int64_t top, int64_t left) {
  const Shape s = ShapeOf(x.dimensions(), w.dimensions(), y->dimensions(), stride, top, left);
  return WithType(x, [&](auto* data) {
    ConvForward(pool, s, data, w.typed_data(), y->typed_data());
  });
}

ffi::Error CallConvInputGradient(ffi::ThreadPool pool, F32 g, F32 w,
                                 ffi::ResultBuffer<ffi::BF16> dx, int64_t stride, int64_t top,
                                 int64_t left) {
  const Shape s = ShapeOf(dx->dimensions(), w.dimensions(), g.dimensions(), stride, top, left);
  ConvInputGradient(pool, s, g.typed_data(), w.typed_data(),
                    static_cast<bf16*>(dx->untyped_data()));
  return ffi::Error::Success();
}

ffi::Error CallConvWeightGradient(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 g, Result dw,
                                  int64_t stride, int64_t top, int64_t left) {
  const Shape s = ShapeOf(x.dimensions(), dw->dimensions(), g.dimensions(), stride, top, left);
  return WithType(x, [&](auto* data) {
    ConvWeightGradient(pool, s, data, g.typed_data(), dw->typed_data());
  });
}

ffi::Error CallDenseForward(ffi::ThreadPool pool, BF16 x, F32 w, Result y) {
  DenseForward(pool, x.dimensions()[0], x.dimensions()[1], w.dimensions()[1],
               static_cast<const bf16*>(x.untyped_data()), w.typed_data(), y->typed_data());
  return ffi::Error::Success();
}

ffi::Error CallDenseInputGradient(ffi::ThreadPool pool, F32 g, F32 w, Result dx) {
  DenseInputGradient(pool, g.dimensions()[0], w.dimensions()[0], w.dimensions()[1],
                     g.typed_data(), w.typed_data(), dx->typed_data());
  return ffi::Error::Success();
}

ffi::Error CallDenseWeightGradient(ffi::ThreadPool pool, BF16 x, F32 g, Result dw) {
  DenseWeightGradient(pool, x.dimensions()[0], x.dimensions()[1], g.dimensions()[1],
                      static_cast<const bf16*>(x.untyped_data()), g.typed_data(),
                      dw->typed_data());
  return ffi::Error::Success();
}

ffi::Error CallPoolForward(ffi::ThreadPool pool, BF16 x, ffi::ResultBuffer<ffi::BF16> y,
                           ffi::ResultBuffer<ffi::U8> place) {
  const Sides from = x.dimensions(), to = y->dimensions();
  PoolForward(pool, {from[0], from[1], from[2], from[3], to[1], to[2]},
              static_cast<const bf16*>(x.untyped_data()), static_cast<bf16*>(y->untyped_data()),
              place->typed_data());
  return ffi::Error::Success();
}

ffi::Error CallPoolGradient(ffi::ThreadPool pool, BF16 g, ffi::Buffer<ffi::U8> place,
                            ffi::ResultBuffer<ffi::BF16> dx) {
  const Sides from = g.dimensions(), to = dx->dimensions();
  PoolGradient(pool, {to[0], to[1], to[2], to[3], from[1], from[2]},
               static_cast<const bf16*>(g.untyped_data()), place.typed_data(),
               static_cast<bf16*>(dx->untyped_data()));
  return ffi::Error::Success();
}

}  // namespace

// Linux gives a process its tiles on demand only.
extern "C" bool dqnlab_request_tiles() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_conv_bfloat16_forward, CallConvForward,
                              WithGeometry(Call().Arg<ffi::AnyBuffer>().Arg<F32>().Ret<F32>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_conv_bfloat16_input_gradient, CallConvInputGradient,
                              WithGeometry(Call().Arg<F32>().Arg<F32>().Ret<BF16>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_conv_bfloat16_weight_gradient, CallConvWeightGradient,
                              WithGeometry(Call().Arg<ffi::AnyBuffer>().Arg<F32>().Ret<F32>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_dense_forward, CallDenseForward,
                              Call().Arg<BF16>().Arg<F32>().Ret<F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_dense_input_gradient, CallDenseInputGradient,
                              Call().Arg<F32>().Arg<F32>().Ret<F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_dense_weight_gradient, CallDenseWeightGradient,
                              Call().Arg<BF16>().Arg<F32>().Ret<F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_pool_forward, CallPoolForward,
                              Call().Arg<BF16>().Ret<BF16>().Ret<ffi::Buffer<ffi::U8>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_pool_gradient, CallPoolGradient,
                              Call().Arg<BF16>().Arg<ffi::Buffer<ffi::U8>>().Ret<BF16>());

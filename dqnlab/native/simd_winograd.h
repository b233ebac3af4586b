// Convolution in float32 by Winograd's minimal filtering (Lavin and Gray, 1509.09308, section 4):
// of 4 x 4 pixels it takes 16 numbers, multiplies each with one of the kernel's 16, and has from
// them 3 x 3 outputs of a 2 x 2 kernel or 2 x 2 of a 3 x 3 kernel, which are 36 products otherwise. A
// stride of s is one of 1 over s x s times the channels. All factors are 0, 1 and 1/2: rounding
// errors stay near those of the plain sum.
//
//   input   V = B'd B    kernel  U = G w G'    output  y = A'[U V] A    [U V] sums over channels
//
// Gradients are the same three steps turned round. The last tiles of a row or column overlap those
// before; a gradient counts what both cover once.

#pragma once

#include "simd_conv.h"
#include "simd_square.h"

namespace dqnlab {

// What the three parts of one convolution share. A group of images is computed by one thread, a
// block of its tiles at a time.
template <int taps>
struct Winograd {
  static constexpr int kOutputs = kSide + 1 - taps;  // of a tile, in each direction
  static constexpr int64_t kTilesInBlock = 64;       // their points stay in the cache

  const Shape& s;
  const int64_t run = s.s * s.c, depth = s.s * run;  // numbers of a pixel's row; of a pixel
  const int64_t wide = CeilDiv(s.wo, kOutputs), tiles = CeilDiv(s.ho, kOutputs) * wide;
  const int64_t images = tiles <= kTilesInBlock / 4 ? 4 : 1;  // in a group
  const int64_t groups = CeilDiv(s.b, images);
  const int64_t size = s.h() * s.w() * s.c, down = s.s * s.w() * s.c;  // of a padded image

  struct Tile {
    int64_t image, y, x;     // in the group; its first output
    int64_t seen_y, seen_x;  // rows and columns that tiles before it have, too
  };
  Tile TileAt(int64_t index) const {
    const int64_t y = index % tiles / wide * kOutputs, x = index % wide * kOutputs;
    const int64_t last_y = std::min(y, s.ho - kOutputs), last_x = std::min(x, s.wo - kOutputs);
    return {index / tiles, last_y, last_x, y - last_y, x - last_x};
  }

  struct Block {
    int64_t group, first, last;  // tiles
    int64_t Rows() const { return last - first; }
  };

  // f(block) for all blocks of a group's tiles.
  template <typename F>
  void EachBlock(int64_t group, const F& f) const {
    const int64_t count = std::min(images, s.b - group * images) * tiles;
    for (int64_t first = 0; first < count; first += kTilesInBlock) {
      f(Block{group, first, std::min(count, first + kTilesInBlock)});
    }
  }

  Points PointsOf(Purpose purpose, int64_t columns) const {
    return Points(purpose, kTilesInBlock * columns);
  }

  // f(number of the first pixel in the group's images, number in V) for each vector of the tiles'
  // pixels.
  template <typename F>
  void EachPixel(const Block& block, const F& f) const {
    for (int64_t t = block.first; t < block.last; ++t) {
      const Tile tile = TileAt(t);
      const int64_t corner = tile.image * size + tile.y * down + tile.x * run;
      for (int64_t y = 0; y < s.s; ++y) {
        for (int64_t k = 0; k < run; k += kLanes) {
          f(corner + y * s.w() * s.c + k, (t - block.first) * depth + y * run + k);
        }
      }
    }
  }

  // V [tiles, s s C] of the block, from its group's images.
  void Input(const float* x, const Block& block, const Points& v) const {
    EachPixel(block, [&](int64_t from, int64_t to) {
      Square d;
#pragma GCC unroll 4
      for (int i = 0; i < kSide; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < kSide; ++j) d[i][j] = Load(x + from + i * down + j * run);
      }
      BothWays<kSide, kSide>(Lines<taps>::Input, d);
      v.Store(d, to);
    });
  }

  // Adds the gradient of the block's V to that of its group's images.
  void InputGradient(const Points& v, const Block& block, float* dx) const {
    EachPixel(block, [&](int64_t to, int64_t from) {
      Square d;
      v.Load(from, d);
      BothWays<kSide, kSide>(Lines<taps>::InputGradient, d);
#pragma GCC unroll 4
      for (int i = 0; i < kSide; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < kSide; ++j) *(Vector*)(dx + to + i * down + j * run) += d[i][j];
      }
    });
  }

  // f(tile, number of its first output in y, number in [tiles, N]) for each vector of the tiles.
  template <typename F>
  void EachOutput(const Block& block, const F& f) const {
    for (int64_t t = block.first; t < block.last; ++t) {
      const Tile tile = TileAt(t);
      const int64_t b = block.group * images + tile.image;
      const int64_t corner = ((b * s.ho + tile.y) * s.wo + tile.x) * s.n;
      for (int64_t n = 0; n < s.n; n += kLanes) f(tile, corner + n, (t - block.first) * s.n + n);
    }
  }

  // The block's outputs, from [tiles, N].
  void Output(const Points& sums, const Block& block, float* y) const {
    EachOutput(block, [&](const Tile&, int64_t to, int64_t from) {
      Square d;
      sums.Load(from, d);
      BothWays<kSide, kOutputs>(Lines<taps>::Output, d);
      for (int i = 0; i < kOutputs; ++i) {
        for (int j = 0; j < kOutputs; ++j) *(Vector*)(y + to + (i * s.wo + j) * s.n) = d[i][j];
      }
    });
  }

  // The gradient of [tiles, N] from that of the block's outputs.
  void OutputGradient(const float* g, const Block& block, const Points& sums) const {
    EachOutput(block, [&](const Tile& tile, int64_t from, int64_t to) {
      Square d;
      for (int i = 0; i < kOutputs; ++i) {
        for (int j = 0; j < kOutputs; ++j) {
          const bool is_seen = i < tile.seen_y || j < tile.seen_x;
          d[i][j] = is_seen ? Vector{} : Load(g + from + (i * s.wo + j) * s.n);
        }
      }
      BothWays<kOutputs, kSide>(Lines<taps>::OutputGradient, d);
      sums.Store(d, to);
    });
  }

  // f(at) for each vector of a tap's numbers [s s C, N].
  template <typename F>
  void EachWeight(ffi::ThreadPool& pool, const F& f) const {
    constexpr int64_t kChunk = 256 * kLanes;
    const int64_t count = depth * s.n;
    Parallel(pool, CeilDiv(count, kChunk), [&](int64_t chunk) {
      const int64_t end = std::min(count, (chunk + 1) * kChunk);
      for (int64_t at = chunk * kChunk; at < end; at += kLanes) f(at);
    });
  }

  // Where number `at` of tap (i, j) is in w [taps, s, taps, s, C, N].
  int64_t Tap(int64_t i, int64_t j, int64_t at) const {
    const int64_t row = run * s.n;
    return ((i * s.s + at / row) * taps + j) * row + at % row;
  }

  // U [s s C, N].
  Points Kernel(ffi::ThreadPool& pool, const float* w) const {
    return KernelOf(pool, [&](int64_t i, int64_t j, int64_t at) { return w + Tap(i, j, at); });
  }

  // The same turned round, [N, s s C].
  Points TurnedKernel(ffi::ThreadPool& pool, const float* w) const {
    const int64_t count = depth * s.n;
    float* turned = Scratch<float>(kTurned, taps * taps * count);
    Parallel(pool, taps * taps, [&](int64_t tap) {
      for (int64_t k = 0; k < depth; ++k) {
        const float* from = w + Tap(tap / taps, tap % taps, k * s.n);
        for (int64_t n = 0; n < s.n; ++n) turned[tap * count + n * depth + k] = from[n];
      }
    });
    return KernelOf(pool, [&](int64_t i, int64_t j, int64_t at) {
      return turned + (i * taps + j) * count + at;
    });
  }

  template <typename F>
  Points KernelOf(ffi::ThreadPool& pool, const F& tap) const {
    const Points u(kWeights, depth * s.n);
    EachWeight(pool, [&](int64_t at) {
      Square d;
      for (int i = 0; i < taps; ++i) {
        for (int j = 0; j < taps; ++j) d[i][j] = Load(tap(i, j, at));
      }
      BothWays<taps, kSide>(Lines<taps>::Kernel, d);
      u.Store(d, at);
    });
    return u;
  }
};

template <int taps, typename T>
void WinogradForward(ffi::ThreadPool& pool, const Shape& s, const T* x, const float* w, float* y) {
  const Winograd<taps> c = {s};
  const Points u = c.Kernel(pool, w);
  const Product p = {1, c.depth, c.depth, 0, 1, 0, s.n, s.n, false};
  Parallel(pool, c.groups, [&](int64_t group) {
    const float* images = Images(s, x, group * c.images, c.images);
    const Points v = c.PointsOf(kInputPoints, c.depth), sums = c.PointsOf(kOutputPoints, s.n);
    c.EachBlock(group, [&](const auto& block) {
      c.Input(images, block, v);
      for (int i = 0; i < kPoints; ++i) Multiply(p, v[i], u[i], sums[i], block.Rows(), s.n);
      c.Output(sums, block, y);
    });
  });
}

template <int taps>
void WinogradInputGradient(ffi::ThreadPool& pool, const Shape& s, const float* g, const float* w,
                           float* dx) {
  const Winograd<taps> c = {s};
  const Points u = c.TurnedKernel(pool, w);
  const Product p = {1, s.n, s.n, 0, 1, 0, c.depth, c.depth, false};
  Parallel(pool, c.groups, [&](int64_t group) {
    const int64_t first = group * c.images, images = std::min(c.images, s.b - first);
    const int64_t size = s.hx * s.wx * s.c;
    float* out = s.IsPadded() ? Scratch<float>(kImage, images * c.size) : dx + first * size;
    std::memset(out, 0, images * c.size * sizeof(float));
    const Points v = c.PointsOf(kInputPoints, c.depth), sums = c.PointsOf(kOutputPoints, s.n);
    c.EachBlock(group, [&](const auto& block) {
      c.OutputGradient(g, block, sums);
      for (int i = 0; i < kPoints; ++i) Multiply(p, sums[i], u[i], v[i], block.Rows(), c.depth);
      c.InputGradient(v, block, out);
    });
    for (int64_t b = 0; s.IsPadded() && b < images; ++b) {
      Unpad(s, out + b * c.size, dx + (first + b) * size);
    }
  });
}

template <int taps, typename T>
void WinogradWeightGradient(ffi::ThreadPool& pool, const Shape& s, const T* x, const float* g,
                            float* dw) {
  constexpr int64_t kMostTasks = 16;  // each has a sum of its own
  const Winograd<taps> c = {s};
  const int64_t groups = CeilDiv(c.groups, kMostTasks), tasks = CeilDiv(c.groups, groups);
  const int64_t step = c.depth * s.n + kLanes;
  float* sums = Scratch<float>(kResult, tasks * kPoints * step);
  Parallel(pool, tasks, [&](int64_t task) {
    Product p = {1, 0, 1, 0, c.depth, 0, s.n, s.n, false};
    const Points v = c.PointsOf(kInputPoints, c.depth), gs = c.PointsOf(kOutputPoints, s.n);
    const int64_t end = std::min(c.groups, (task + 1) * groups);
    for (int64_t group = task * groups; group < end; ++group) {
      const float* images = Images(s, x, group * c.images, c.images);
      c.EachBlock(group, [&](const auto& block) {
        c.Input(images, block, v);
        c.OutputGradient(g, block, gs);
        p.inner = block.Rows();
        float* sum = sums + task * kPoints * step;
        for (int i = 0; i < kPoints; ++i) Multiply(p, v[i], gs[i], sum + i * step, c.depth, s.n);
        p.adds = true;
      });
    }
  });
  c.EachWeight(pool, [&](int64_t at) {
    Square d = {};
    for (int64_t task = 0; task < tasks; ++task) {
      const float* sum = sums + task * kPoints * step + at;
      for (int i = 0; i < kPoints; ++i) d[i / kSide][i % kSide] += Load(sum + i * step);
    }
    BothWays<kSide, taps>(Lines<taps>::KernelGradient, d);
    for (int i = 0; i < taps; ++i) {
      for (int j = 0; j < taps; ++j) *(Vector*)(dw + c.Tap(i, j, at)) = d[i][j];
    }
  });
}

// Whether there are tiles for it, and outputs enough to be worth the kernel's 16 points.
inline bool IsForWinograd(const Shape& s) {
  constexpr int64_t kFewestOutputs = 256;
  const int64_t taps = s.kh / s.s, outputs = kSide + 1 - taps;
  return s.kh == s.kw && (taps == 2 || taps == 3) && std::min(s.ho, s.wo) >= outputs &&
         s.s * s.c % kLanes == 0 && s.b * s.ho * s.wo >= kFewestOutputs;
}

}  // namespace dqnlab

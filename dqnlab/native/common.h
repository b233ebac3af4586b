// What the kernels share: threads, scratch memory, the geometry of a convolution.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace dqnlab {

inline int64_t CeilDiv(int64_t n, int64_t size) { return (n + size - 1) / size; }

// `count` rows in as few groups of at most `largest` as possible, all of this size; the last ones
// may overlap.
inline int64_t GroupSize(int64_t count, int64_t largest) {
  return count == 0 ? 1 : CeilDiv(count, CeilDiv(count, largest));
}

// Memory that each thread keeps for its next call, one for each purpose.
enum Purpose {
  kWeights, kImage, kResult, kPairs, kTurned, kInputPoints, kOutputPoints, kPurposes
};

template <typename T>
T* Scratch(Purpose purpose, size_t count) {
  struct Memory {
    void* data = nullptr;
    size_t bytes = 0;
    ~Memory() { std::free(data); }
  };
  thread_local Memory memories[kPurposes];
  Memory& memory = memories[purpose];
  constexpr size_t kSlack = 4096;  // whole tiles are read, beyond the last number too
  const size_t bytes = CeilDiv(count * sizeof(T) + kSlack, 4096) * 4096;
  if (bytes > memory.bytes) {
    std::free(memory.data);
    memory.data = std::aligned_alloc(4096, bytes);
    memory.bytes = bytes;
    std::memset(memory.data, 0, bytes);
  }
  return static_cast<T*>(memory.data);
}

// f(i) for all i < count, on this thread and on those of the pool that are free.
template <typename F>
void Parallel(ffi::ThreadPool& pool, int64_t count, const F& f) {
  struct State {
    const F* f;
    int64_t count;
    std::atomic<int64_t> next{0}, done{0};
    void Work() {
      for (int64_t i; (i = next.fetch_add(1)) < count; done.fetch_add(1)) (*f)(i);
    }
  };
  const int64_t helpers = std::min(pool.num_threads(), count) - 1;
  if (helpers <= 0) {
    for (int64_t i = 0; i < count; ++i) f(i);
    return;
  }
  auto state = std::make_shared<State>();  // a helper may come when all is done
  state->f = &f;
  state->count = count;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([state] { state->Work(); });
  state->Work();
  while (state->done.load() < count) std::this_thread::yield();
}

// x [B, hx, wx, C] with zeros around it, or cut off, so that it is h x w = (ho + kh / s - 1) s;
// w [kh, kw, C, N], sides multiples of s; y [B, ho, wo, N].
struct Shape {
  int64_t b, hx, wx, c, kh, kw, n, ho, wo, s, top, left;
  int64_t h() const { return (ho + kh / s - 1) * s; }
  int64_t w() const { return (wo + kw / s - 1) * s; }
  bool IsPadded() const { return hx != h() || wx != w(); }
};

// Calls f(from, to, count) for the rows of the padded picture that hold some of x: `count` numbers
// at `from` of x belong at `to`.
template <typename F>
void EachRow(const Shape& s, const F& f) {
  const int64_t width = std::min(s.wx, s.w() - s.left) * s.c;
  for (int64_t y = 0; y < std::min(s.hx, s.h() - s.top); ++y) {
    f(y * s.wx * s.c, ((y + s.top) * s.w() + s.left) * s.c, width);
  }
}

using F32 = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;
using Sides = ffi::AnyBuffer::Dimensions;

inline Shape ShapeOf(Sides x, Sides w, Sides y, int64_t stride, int64_t top, int64_t left) {
  return {x[0], x[1], x[2], x[3], w[0], w[1], w[3], y[1], y[2], stride, top, left};
}

inline auto Call() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>(); }

template <typename Binding>
auto WithGeometry(Binding binding) {
  return std::move(binding)
      .template Attr<int64_t>("stride")
      .template Attr<int64_t>("top")
      .template Attr<int64_t>("left");
}

}  // namespace dqnlab

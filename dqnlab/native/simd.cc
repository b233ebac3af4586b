// What XLA calls for layers in float32, with the vectors that the CPU has. Sums are taken in the
// same order whatever the number of threads.

#include "simd_winograd.h"

namespace {

using namespace dqnlab;

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

// f(taps) with the number of taps, 2 or 3, that Winograd's filtering has; with 0 without it.
template <typename F>
void WithTaps(const Shape& s, const F& f) {
  if (!IsForWinograd(s)) return f(std::integral_constant<int, 0>());
  if (s.kh / s.s == 2) return f(std::integral_constant<int, 2>());
  return f(std::integral_constant<int, 3>());
}

ffi::Error CallForward(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 w, Result y, int64_t stride,
                       int64_t top, int64_t left) {
  const Shape s = ShapeOf(x.dimensions(), w.dimensions(), y->dimensions(), stride, top, left);
  return WithType(x, [&](auto* data) {
    WithTaps(s, [&](auto taps) {
      if constexpr (taps > 0) {
        WinogradForward<taps>(pool, s, data, w.typed_data(), y->typed_data());
      } else {
        ConvForward(pool, s, data, w.typed_data(), y->typed_data());
      }
    });
  });
}

ffi::Error CallInputGradient(ffi::ThreadPool pool, F32 g, F32 w, Result dx, int64_t stride,
                             int64_t top, int64_t left) {
  const Shape s = ShapeOf(dx->dimensions(), w.dimensions(), g.dimensions(), stride, top, left);
  WithTaps(s, [&](auto taps) {
    if constexpr (taps > 0) {
      WinogradInputGradient<taps>(pool, s, g.typed_data(), w.typed_data(), dx->typed_data());
    } else {
      ConvInputGradient(pool, s, g.typed_data(), w.typed_data(), dx->typed_data());
    }
  });
  return ffi::Error::Success();
}

ffi::Error CallWeightGradient(ffi::ThreadPool pool, ffi::AnyBuffer x, F32 g, Result dw,
                              int64_t stride, int64_t top, int64_t left) {
  const Shape s = ShapeOf(x.dimensions(), dw->dimensions(), g.dimensions(), stride, top, left);
  return WithType(x, [&](auto* data) {
    WithTaps(s, [&](auto taps) {
      if constexpr (taps > 0) {
        WinogradWeightGradient<taps>(pool, s, data, g.typed_data(), dw->typed_data());
      } else {
        ConvWeightGradient(pool, s, data, g.typed_data(), dw->typed_data());
      }
    });
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_conv_float32_forward, CallForward,
                              WithGeometry(Call().Arg<ffi::AnyBuffer>().Arg<F32>().Ret<F32>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_conv_float32_input_gradient, CallInputGradient,
                              WithGeometry(Call().Arg<F32>().Arg<F32>().Ret<F32>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_conv_float32_weight_gradient, CallWeightGradient,
                              WithGeometry(Call().Arg<ffi::AnyBuffer>().Arg<F32>().Ret<F32>()));

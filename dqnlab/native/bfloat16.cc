// What XLA calls for layers in bfloat16 on x86 CPUs that multiply it: with matrix units (AMX) or
// with vectors (AVX512_BF16). Sums are taken in the same order whatever the number of threads.

#include <sys/syscall.h>
#include <unistd.h>

#include "bfloat16_conv.h"
#include "bfloat16_dense.h"
#include "bfloat16_layer_norm.h"
#include "bfloat16_pool.h"

namespace {

using namespace dqnlab;

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

ffi::Error CallDenseGram(ffi::ThreadPool pool, F32 x, Result y) {
  DenseGram(pool, x.dimensions()[0], x.dimensions()[1], x.typed_data(), y->typed_data());
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

ffi::Error CallLayerNormForward(ffi::ThreadPool pool, F32 x, F32 scale, F32 offset,
                                ffi::ResultBuffer<ffi::BF16> y, float epsilon) {
  const int64_t c = scale.dimensions()[0], rows = x.element_count() / c;
  LayerNormForward(pool, rows, c, epsilon, x.typed_data(), scale.typed_data(),
                   offset.typed_data(), static_cast<bf16*>(y->untyped_data()));
  return ffi::Error::Success();
}

ffi::Error CallLayerNormGradient(ffi::ThreadPool pool, F32 x, F32 scale, F32 offset, BF16 g,
                                 Result dx, Result d, float epsilon) {
  const int64_t c = scale.dimensions()[0], rows = x.element_count() / c;
  LayerNormGradient(pool, rows, c, epsilon, x.typed_data(), scale.typed_data(),
                    offset.typed_data(), static_cast<const bf16*>(g.untyped_data()),
                    dx->typed_data(), d->typed_data());
  return ffi::Error::Success();
}

}  // namespace

// Linux gives a process its tiles on demand only.
extern "C" bool dqnlab_request_tiles() {
#if defined(__AMX_BF16__)
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return true;
#endif
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
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_dense_gram, CallDenseGram, Call().Arg<F32>().Ret<F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_pool_forward, CallPoolForward,
                              Call().Arg<BF16>().Ret<BF16>().Ret<ffi::Buffer<ffi::U8>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(dqnlab_pool_gradient, CallPoolGradient,
                              Call().Arg<BF16>().Arg<ffi::Buffer<ffi::U8>>().Ret<BF16>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    dqnlab_layer_norm_forward, CallLayerNormForward,
    Call().Arg<F32>().Arg<F32>().Arg<F32>().Ret<BF16>().Attr<float>("epsilon"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    dqnlab_layer_norm_gradient, CallLayerNormGradient,
    Call().Arg<F32>().Arg<F32>().Arg<F32>().Arg<BF16>().Ret<F32>().Ret<F32>().Attr<float>(
        "epsilon"));

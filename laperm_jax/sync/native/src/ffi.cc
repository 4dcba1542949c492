// The XLA FFI handlers: laperm_place and laperm_sort.
//
// Buffers are contiguous, of any shape (..., fan_in, inner) that the two attributes describe: with no reshape around
// the call, XLA lets it work in place.

#include <cstdint>
#include <functional>
#include <new>

#include "sync.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace laperm {
namespace {

class XlaPool : public Pool {
 public:
  explicit XlaPool(ffi::ThreadPool& pool) : pool_(pool) {}
  size_t Threads() const override { return size_t(std::max<int64_t>(1, pool_.num_threads())); }
  void Schedule(std::function<void()> task) override { pool_.Schedule(std::move(task)); }

 private:
  ffi::ThreadPool& pool_;
};

template <class Word>
ffi::Error Run(ffi::ThreadPool& pool, ffi::AnyBuffer weights, const void* values, void* result, size_t fan_in,
               size_t inner, Word infinity) {
  size_t outer = weights.element_count() / (fan_in * inner);
  XlaPool xla_pool(pool);
  try {
    Sync<Word>(xla_pool, {static_cast<const Word*>(weights.untyped_data()), static_cast<const Word*>(values),
                          static_cast<Word*>(result), outer, fan_in, inner, infinity});
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "laperm: out of memory");
  }
  return ffi::Error::Success();
}

ffi::Error Dispatch(ffi::ThreadPool& pool, ffi::AnyBuffer weights, const void* values, ffi::AnyBuffer result,
                    int64_t fan_in, int64_t inner) {
  if (result.element_count() != weights.element_count() || result.element_type() != weights.element_type()) {
    return ffi::Error::InvalidArgument("laperm: weights and result must have one shape and dtype");
  }
  if (weights.element_count() == 0) return ffi::Error::Success();
  if (fan_in < 1 || inner < 1 || fan_in > UINT32_MAX || weights.element_count() % (fan_in * inner) != 0) {
    return ffi::Error::InvalidArgument("laperm: fan_in and inner do not divide the array, or fan_in exceeds 2^32 - 1");
  }
  void* to = result.untyped_data();
  switch (weights.element_type()) {
    case ffi::F16: return Run<uint16_t>(pool, weights, values, to, fan_in, inner, 0x7c00);
    case ffi::BF16: return Run<uint16_t>(pool, weights, values, to, fan_in, inner, 0x7f80);
    case ffi::F32: return Run<uint32_t>(pool, weights, values, to, fan_in, inner, 0x7f800000);
    case ffi::F64: return Run<uint64_t>(pool, weights, values, to, fan_in, inner, 0x7ff0000000000000);
    default: return ffi::Error::InvalidArgument("laperm: weights must be float16, bfloat16, float32 or float64");
  }
}

ffi::Error Place(ffi::ThreadPool pool, ffi::AnyBuffer weights, ffi::AnyBuffer values,
                 ffi::Result<ffi::AnyBuffer> result, int64_t fan_in, int64_t inner) {
  if (values.element_count() != weights.element_count() || values.element_type() != weights.element_type()) {
    return ffi::Error::InvalidArgument("laperm: weights and sorted_init must have one shape and dtype");
  }
  return Dispatch(pool, weights, values.untyped_data(), *result, fan_in, inner);
}

ffi::Error Sort(ffi::ThreadPool pool, ffi::AnyBuffer weights, ffi::Result<ffi::AnyBuffer> result, int64_t fan_in,
                int64_t inner) {
  return Dispatch(pool, weights, nullptr, *result, fan_in, inner);
}

}  // namespace
}  // namespace laperm

#define LAPERM_EXPORT __attribute__((visibility("default")))

// What jaxlib has to support, major * 1000 + minor: asked for before anything is registered.
extern "C" LAPERM_EXPORT int laperm_ffi_version() { return 1000 * XLA_FFI_API_MAJOR + XLA_FFI_API_MINOR; }

extern "C" LAPERM_EXPORT XLA_FFI_Error* laperm_place(XLA_FFI_CallFrame* frame);
extern "C" LAPERM_EXPORT XLA_FFI_Error* laperm_sort(XLA_FFI_CallFrame* frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(laperm_place, laperm::Place,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("fan_in")
                                  .Attr<int64_t>("inner"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(laperm_sort, laperm::Sort,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("fan_in")
                                  .Attr<int64_t>("inner"));

// Floating-point formats as bit patterns, and the order keys that the whole library compares.
//
// Comparing integers instead of floats keeps subnormal numbers apart where the processor flushes them to zero, and
// leaves NaN payloads alone.

#ifndef LAPERM_FLOAT_BITS_H_
#define LAPERM_FLOAT_BITS_H_

#include <cstddef>
#include <cstdint>

namespace laperm {

// `kInfinity` is the bit pattern of +inf: all exponent bits set.
template <class W, W kInfinity>
struct Format {
  using Word = W;
  static constexpr int kBits = 8 * sizeof(Word);
  static constexpr Word kSign = Word(Word(1) << (kBits - 1));

  static bool IsFinite(Word bits) { return (bits & kInfinity) != kInfinity; }

  // Unsigned integers in the order of the floats; -0 and +0 have the same key.
  static Word Key(Word bits) { return bits & kSign ? Word(0 - bits) : Word(bits | kSign); }

  // Whether `count` weights, `stride` apart, are all finite. No early exit: the compiler vectorises this loop.
  static bool AllFinite(const Word* weights, size_t stride, size_t count) {
    unsigned non_finite = 0;
    if (stride == 1) {
      for (size_t i = 0; i < count; ++i) non_finite |= !IsFinite(weights[i]);
    } else {
      for (size_t i = 0; i < count; ++i) non_finite |= !IsFinite(weights[i * stride]);
    }
    return !non_finite;
  }
};

using Float16 = Format<uint16_t, 0x7c00>;
using BFloat16 = Format<uint16_t, 0x7f80>;
using Float32 = Format<uint32_t, 0x7f800000>;
using Float64 = Format<uint64_t, 0x7ff0000000000000>;

// An order key above a position, packed into one integer: no two items of a vector are equal, so that sorting them by
// any algorithm breaks ties by position.
template <class Format_, class Integer_, int kPositionBits_>
struct PackedItem {
  using Format = Format_;
  using Integer = Integer_;
  static constexpr int kPositionBits = kPositionBits_;
  static constexpr int kBits = Format::kBits + kPositionBits;
  static_assert(kBits <= int(8 * sizeof(Integer)), "key and position must fit");

  static Integer Pack(typename Format::Word bits, uint32_t position) {
    return Integer(Integer(Format::Key(bits)) << kPositionBits | position);
  }
  static uint32_t Position(Integer item) { return uint32_t(item & ((Integer(1) << kPositionBits) - 1)); }
};

__extension__ typedef unsigned __int128 uint128_t;

// For vectors of up to 2^32 weights, and for those of up to 2^16 where that is smaller.
template <class Format>
using Item = PackedItem<Format, std::conditional_t<Format::kBits == 64, uint128_t, uint64_t>, 32>;
template <class Format>
using ShortItem = std::conditional_t<Format::kBits == 16, PackedItem<Format, uint32_t, 16>, Item<Format>>;

}  // namespace laperm

#endif  // LAPERM_FLOAT_BITS_H_

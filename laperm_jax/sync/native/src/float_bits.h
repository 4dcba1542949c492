// Floats as bit patterns: words of 16, 32 or 64 bits, and the order keys that the whole library compares.
//
// Comparing integers instead of floats keeps subnormal numbers apart where the processor flushes them to zero, and
// leaves NaN payloads alone.

#ifndef LAPERM_FLOAT_BITS_H_
#define LAPERM_FLOAT_BITS_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace laperm {

__extension__ typedef unsigned __int128 uint128_t;

template <class Word>
constexpr int kBits = 8 * sizeof(Word);

// `infinity` is the bit pattern of +inf, all exponent bits set: it tells float16 from bfloat16.
template <class Word>
bool IsFinite(Word bits, Word infinity) {
  return (bits & infinity) != infinity;
}

// No early exit: the compiler vectorises this loop.
template <class Word>
bool AllFinite(const Word* weights, size_t stride, size_t count, Word infinity) {
  unsigned non_finite = 0;
  if (stride == 1) {
    for (size_t i = 0; i < count; ++i) non_finite |= !IsFinite(weights[i], infinity);
  } else {
    for (size_t i = 0; i < count; ++i) non_finite |= !IsFinite(weights[i * stride], infinity);
  }
  return !non_finite;
}

// Unsigned integers in the order of the floats; -0 and +0 have the same key.
template <class Word>
Word OrderKey(Word bits) {
  constexpr Word kSign = Word(Word(1) << (kBits<Word> - 1));
  return bits & kSign ? Word(0 - bits) : Word(bits | kSign);
}

// An order key above a position, packed into one integer: no two items of a vector are equal, so that sorting them by
// any algorithm breaks ties by position.
template <class Word_, class Integer_, int kPositionBits_>
struct PackedItem {
  using Word = Word_;
  using Integer = Integer_;
  static constexpr int kPositionBits = kPositionBits_;
  static constexpr int kItemBits = kBits<Word> + kPositionBits;
  static_assert(kItemBits <= kBits<Integer>, "key and position must fit");

  static Integer Pack(Word bits, uint32_t position) {
    return Integer(Integer(OrderKey(bits)) << kPositionBits | position);
  }
  static uint32_t Position(Integer item) { return uint32_t(item & ((Integer(1) << kPositionBits) - 1)); }
};

// For vectors of up to 2^32 weights, and for those of up to 2^16 where that is smaller.
template <class Word>
using Item = PackedItem<Word, std::conditional_t<kBits<Word> == 64, uint128_t, uint64_t>, 32>;
template <class Word>
using ShortItem = std::conditional_t<kBits<Word> == 16, PackedItem<Word, uint32_t, 16>, Item<Word>>;

}  // namespace laperm

#endif  // LAPERM_FLOAT_BITS_H_

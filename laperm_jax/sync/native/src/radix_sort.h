// Vectors of any length: a least-significant-digit radix sort of items.

#ifndef LAPERM_RADIX_SORT_H_
#define LAPERM_RADIX_SORT_H_

#include <utility>

#include "float_bits.h"

namespace laperm {

// Sorts kRows vectors side by side, which is faster than one after the other: a counter that has just been incremented
// is slow to read again, and the other row gives the processor something to do meanwhile.
template <class Item, int kRows>
class RadixSort {
  using Integer = typename Item::Integer;
  static constexpr int kDigitBits = 8;
  static constexpr int kDigits = 1 << kDigitBits;
  static constexpr int kPasses = kBits<typename Item::Word> / kDigitBits;

 public:
  // Calls emit(row, rank, position) for every item of every row, in the order of their keys; of equal keys the earlier
  // comes first. load(row, i) gives the items; no item is loaded after it, or one before it, has been emitted.
  //
  // `first` and `second` have room for the items of all rows. Items may be loaded from `second`.
  template <class Load, class Emit>
  static void Rank(size_t length, Integer* first, Integer* second, const Load& load, const Emit& emit) {
    uint32_t starts[kPasses][kRows][kDigits] = {};
    for (size_t i = 0; i < length; ++i) {
      for (int row = 0; row < kRows; ++row) {
        Integer item = load(row, i);
        for (int pass = 0; pass < kPasses; ++pass) ++starts[pass][row][Digit(item, pass)];
      }
    }
    int passes[kPasses], count = 0;  // of digits that vary
    for (int pass = 0; pass < kPasses; ++pass) {
      bool varies = false;
      for (int row = 0; row < kRows; ++row) varies |= starts[pass][row][Digit(load(row, 0), pass)] != length;
      if (varies) passes[count++] = pass;
    }
    for (auto& rows : starts) {
      for (auto& digits : rows) {
        uint32_t sum = 0;
        for (uint32_t& start : digits) sum += std::exchange(start, sum);
      }
    }

    auto distribute = [&](int pass, const auto& read, const auto& write) {
      for (size_t i = 0; i < length; ++i) {
        for (int row = 0; row < kRows; ++row) {
          Integer item = read(row, i);
          write(row, starts[pass][row][Digit(item, pass)]++, item);
        }
      }
    };
    Integer *from = second, *to = first;
    auto read = [&](int row, size_t i) { return from[row * length + i]; };
    auto write = [&](int row, size_t i, Integer item) { to[row * length + i] = item; };
    auto emit_item = [&](int row, size_t rank, Integer item) { emit(row, rank, Item::Position(item)); };
    if (count > 0) {
      distribute(passes[0], load, write);
      std::swap(from, to);
    }
    for (int i = 1; i + 1 < count; ++i) {
      distribute(passes[i], read, write);
      std::swap(from, to);
    }
    if (count > 1) {
      distribute(passes[count - 1], read, emit_item);
    } else {
      for (size_t i = 0; i < length; ++i) {
        for (int row = 0; row < kRows; ++row) emit_item(row, i, count ? read(row, i) : load(row, i));
      }
    }
  }

 private:
  static int Digit(Integer item, int pass) {
    return int(item >> (Item::kPositionBits + pass * kDigitBits)) & (kDigits - 1);
  }
};

}  // namespace laperm

#endif  // LAPERM_RADIX_SORT_H_

// Vectors of float32 of middle length: a radix sort of what a linear map makes of the weights.
//
// The weights of a vector fill their range rather evenly. Mapped linearly to 16 bits, nearly all of them are told apart
// by two passes of a radix sort, where their order keys would take four; an insertion sort moves the few others. Where
// they are many - one weight is much larger than the rest - the vector is left to the radix sort of its keys.

#ifndef LAPERM_LINEAR_SORT_H_
#define LAPERM_LINEAR_SORT_H_

#include <cstring>
#include <utility>

#include "float_bits.h"

namespace laperm {

class LinearSort {
  static constexpr int kDigitBits = 8;
  static constexpr int kDigits = 1 << kDigitBits;
  static constexpr int kPositionBits = 16;
  static constexpr size_t kMaxMoves = 2;  // for each weight, in the insertion sort

 public:
  static constexpr size_t kMaxLength = 1 << 14;  // for longer vectors 16 bits are too few

  // Calls emit(rank, position) for every weight of a finite vector, in ascending order; of equal ones the earlier comes
  // first. Or returns false, and has called nothing. `scratch` has room for 2 * length elements.
  template <class Emit>
  static bool Rank(const uint32_t* weights, size_t length, uint64_t* scratch, const Emit& emit) {
    uint64_t* items = scratch;  // order key and position
    auto* mapped = reinterpret_cast<uint16_t*>(scratch + length);
    auto* half_sorted = reinterpret_cast<uint32_t*>(mapped + length + length % 2);  // high digit and position
    if (!Map(weights, length, mapped)) return false;
    uint32_t low[kDigits] = {}, high[kDigits] = {};
    for (size_t i = 0; i < length; ++i) {
      ++low[mapped[i] % kDigits];
      ++high[mapped[i] / kDigits];
    }
    uint32_t low_sum = 0, high_sum = 0;
    for (int digit = 0; digit < kDigits; ++digit) {
      low_sum += std::exchange(low[digit], low_sum);
      high_sum += std::exchange(high[digit], high_sum);
    }
    for (size_t i = 0; i < length; ++i) {
      half_sorted[low[mapped[i] % kDigits]++] = uint32_t(mapped[i] / kDigits) << kPositionBits | uint32_t(i);
    }
    for (size_t i = 0; i < length; ++i) {
      uint32_t position = half_sorted[i] % (1 << kPositionBits);
      items[high[half_sorted[i] >> kPositionBits]++] = Item<uint32_t>::Pack(weights[position], position);
    }
    if (!InsertionSort(items, length)) return false;
    for (size_t rank = 0; rank < length; ++rank) emit(rank, Item<uint32_t>::Position(items[rank]));
    return true;
  }

 private:
  // Maps the smallest weight to 0 and the largest to 2^16 - 1. Rounding keeps the map monotone, which is all that the
  // sort needs of it. False where the range is empty, infinite, or too small to divide by.
  static bool Map(const uint32_t* weights, size_t length, uint16_t* mapped) {
    float smallest = ToFloat(weights[0]), largest = smallest;
    for (size_t i = 1; i < length; ++i) {
      float weight = ToFloat(weights[i]);
      smallest = weight < smallest ? weight : smallest;
      largest = weight > largest ? weight : largest;
    }
    float range = largest - smallest, scale = float(kDigits * kDigits - 1) / range;
    if (!(range > 0) || !IsFinite(range) || !IsFinite(scale)) return false;
    for (size_t i = 0; i < length; ++i) mapped[i] = uint16_t(int32_t((ToFloat(weights[i]) - smallest) * scale));
    return true;
  }

  static bool InsertionSort(uint64_t* items, size_t length) {
    size_t moves_left = kMaxMoves * length;
    for (size_t i = 1; i < length; ++i) {
      uint64_t item = items[i];
      if (item > items[i - 1]) continue;
      size_t j = i;
      for (; j > 0 && items[j - 1] > item; --j) {
        if (moves_left-- == 0) return false;
        items[j] = items[j - 1];
      }
      items[j] = item;
    }
    return true;
  }

  static float ToFloat(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }

  // By its bits: the compiler is told that floats are finite.
  static bool IsFinite(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return laperm::IsFinite(bits, 0x7f800000u);
  }
};

}  // namespace laperm

#endif  // LAPERM_LINEAR_SORT_H_

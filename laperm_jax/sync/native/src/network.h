// Short vectors: a sorting network, many vectors side by side.
//
// The lanes of a SIMD register hold items of different vectors, so that one comparator of the network is a minimum and
// a maximum of registers, without branches. Baseline x86-64 has these for floats only. An item is therefore stored as
// the mantissa of a float in [1, 2), which the processor orders as it would the integer. (Items of float64 are too long
// for that: integers, compared one by one.)

#ifndef LAPERM_NETWORK_H_
#define LAPERM_NETWORK_H_

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "float_bits.h"

namespace laperm {

constexpr size_t kNetworkLength = 64;  // of the longest vector

template <class Lane_, class Bits_, Bits_ kOne_>
struct LaneFormat {
  using Lane = Lane_;
  using Bits = Bits_;
  static constexpr Bits kOne = kOne_;
};
template <class Word>
using LaneFormatFor = std::conditional_t<
    kBits<Word> == 16, LaneFormat<float, uint32_t, 0x3f800000>,
    std::conditional_t<kBits<Word> == 32, LaneFormat<double, uint64_t, 0x3ff0000000000000>,
                       LaneFormat<uint128_t, uint128_t, 0>>>;

template <class Word>
class Network {
  using Lane = typename LaneFormatFor<Word>::Lane;
  using Bits = typename LaneFormatFor<Word>::Bits;
  static constexpr Bits kOne = LaneFormatFor<Word>::kOne;
  static constexpr int kPositionBits = 7;  // what a float's mantissa leaves beside a key of 16 bits
  static_assert(kNetworkLength <= 1 << kPositionBits);

 public:
  static constexpr size_t kWidth = 64 / sizeof(Word);  // vectors side by side: a cache line of a row

  // Reads vectors of `length` weights, weight i of vector j at weights[i * stride + j * pitch], and sorts their items.
  void Sort(const Word* weights, size_t stride, size_t pitch, size_t length, size_t vectors,
            Word infinity) {
    std::fill_n(non_finite_, kWidth, 0);
    if (pitch == 1 && vectors == kWidth) {  // constants, for the compiler
      Load(weights, stride, 1, length, kWidth, infinity);
    } else {
      std::fill_n(lanes_, length * kWidth, Lane(1));
      Load(weights, stride, pitch, length, vectors, infinity);
    }
    MergeExchange(length);
  }

  bool IsFinite(size_t vector) const { return !non_finite_[vector]; }

  // The position of the weight of that rank.
  size_t Position(size_t rank, size_t vector) const {
    Bits item;
    std::memcpy(&item, &lanes_[rank * kWidth + vector], sizeof(item));
    return item & ((Bits(1) << kPositionBits) - 1);
  }

 private:
  void Load(const Word* weights, size_t stride, size_t pitch, size_t length, size_t vectors,
            Word infinity) {
    for (size_t i = 0; i < length; ++i) {
      for (size_t j = 0; j < vectors; ++j) {
        Word bits = weights[i * stride + j * pitch];
        Bits item = kOne | Bits(OrderKey(bits)) << kPositionBits | Bits(i);
        std::memcpy(&lanes_[i * kWidth + j], &item, sizeof(item));
        non_finite_[j] |= !laperm::IsFinite(bits, infinity);
      }
    }
  }

  // Batcher's odd-even merge sort: runs of `run` sorted rows are merged into runs twice as long. Rows past the end
  // count as infinite, which no comparator moves, since all of them put the larger item below.
  void MergeExchange(size_t rows) {
    for (size_t run = 1; run < rows; run *= 2) {
      for (size_t row = 0; row + run < rows; row += 2 * run) Compare(row, run, rows);
      for (size_t distance = run / 2; distance > 0; distance /= 2) {
        for (size_t begin = 0; begin + distance < rows; begin += 2 * run) {
          size_t end = std::min(rows, begin + 2 * run);
          for (size_t row = begin + distance; row + distance < end; row += 2 * distance) Compare(row, distance, rows);
        }
      }
    }
  }

  // Comparators of row, row + 1, ... with those `distance` below, for `distance` rows.
  void Compare(size_t row, size_t distance, size_t rows) {
    Lane* __restrict low = &lanes_[row * kWidth];
    Lane* __restrict high = &lanes_[(row + distance) * kWidth];
    size_t count = std::min(distance, rows - row - distance) * kWidth;
    for (size_t i = 0; i < count; ++i) {
      Lane a = low[i], b = high[i];
      low[i] = a < b ? a : b;
      high[i] = a < b ? b : a;
    }
  }

  alignas(64) Lane lanes_[kNetworkLength * kWidth];  // (rows, vectors)
  Word non_finite_[kWidth];                          // of each vector: 1 if it holds NaN or inf
};

}  // namespace laperm

#endif  // LAPERM_NETWORK_H_

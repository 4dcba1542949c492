// The arrays of one call, and how they divide into blocks of vectors.

#ifndef LAPERM_VECTORS_H_
#define LAPERM_VECTORS_H_

#include <algorithm>
#include <cstddef>

namespace laperm {

// Arrays of shape (outer, fan_in, inner) in C order. A vector is one column: its weights are `inner` apart.
//
// Without `values` the vectors are sorted, to another array. With `values` - vectors in ascending order - these are
// placed by the ranks of the weights, and `result` may be the very memory of `weights`.
template <class Word>
struct Vectors {
  const Word* weights;
  const Word* values;
  Word* result;
  size_t outer, fan_in, inner;
  Word infinity;  // its bits

  size_t Count() const { return outer * inner; }
  size_t Size() const { return outer * fan_in * inner; }
  bool InPlace() const { return weights == result; }
};

// Vectors next to each other: weight i of vector j is at start + i * stride + j * pitch.
struct Block {
  size_t start, stride, pitch, vectors;
};

// The blocks of an array, of `width` vectors at most.
class Blocks {
 public:
  template <class Word>
  Blocks(const Vectors<Word>& array, size_t width)
      : fan_in_(array.fan_in), inner_(array.inner), rows_(array.inner == 1), width_(width) {
    lines_ = rows_ ? array.outer : array.inner;
    per_outer_ = (lines_ + width - 1) / width;
    count_ = per_outer_ * (rows_ ? 1 : array.outer);
  }

  size_t Count() const { return count_; }

  Block operator[](size_t index) const {
    size_t line = index % per_outer_ * width_, pitch = rows_ ? fan_in_ : 1;
    size_t start = index / per_outer_ * fan_in_ * inner_ + line * pitch;
    return {start, inner_, pitch, std::min(width_, lines_ - line)};
  }

 private:
  size_t fan_in_, inner_;
  bool rows_;  // each vector is contiguous
  size_t width_, lines_, per_outer_, count_;
};

}  // namespace laperm

#endif  // LAPERM_VECTORS_H_

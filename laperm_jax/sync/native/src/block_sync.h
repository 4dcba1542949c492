// Many vectors: each thread takes a block of them at a time.

#ifndef LAPERM_BLOCK_SYNC_H_
#define LAPERM_BLOCK_SYNC_H_

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>

#include "linear_sort.h"
#include "network.h"
#include "parallel.h"
#include "radix_sort.h"
#include "vectors.h"

namespace laperm {

#ifndef LAPERM_SCRATCH_BYTES  // the tests make do with less
#define LAPERM_SCRATCH_BYTES (64 << 20)
#endif
constexpr size_t kScratchBytes = LAPERM_SCRATCH_BYTES;  // of all threads of a call together
constexpr size_t kParallelWeights = 1 << 14;        // of a call that is worth a second thread
constexpr size_t kWeightsAtOnce = 1 << 12;          // that a thread takes at a time, at least

template <class Word>
void CopyVector(const Vectors<Word>& array, const Block& block, size_t vector) {
  if (array.InPlace()) return;
  size_t start = block.start + vector * block.pitch;
  for (size_t i = 0; i < array.fan_in; ++i) {
    array.result[start + i * block.stride] = array.weights[start + i * block.stride];
  }
}

// Short vectors, by a sorting network.
template <class Word>
class NetworkBody {
 public:
  static constexpr size_t kWidth = Network<Word>::kWidth;

  NetworkBody(const Vectors<Word>& array, const Blocks& blocks, size_t at_once)
      : array_(array), blocks_(blocks), at_once_(at_once), network_(new Network<Word>) {}

  void operator()(size_t index) {
    size_t end = std::min(blocks_.Count(), (index + 1) * at_once_);
    for (size_t block = index * at_once_; block < end; ++block) Do(blocks_[block]);
  }

 private:
  void Do(const Block& block) {
    network_->Sort(array_.weights + block.start, block.stride, block.pitch, array_.fan_in, block.vectors,
                   array_.infinity);
    size_t vectors[kWidth], count = 0;  // to be written
    for (size_t j = 0; j < block.vectors; ++j) {
      if (!array_.values || network_->IsFinite(j)) {
        vectors[count++] = j;
      } else {
        CopyVector(array_, block, j);
      }
    }
    for (size_t rank = 0; rank < array_.fan_in; ++rank) {
      for (size_t k = 0; k < count; ++k) {
        size_t start = block.start + vectors[k] * block.pitch;
        size_t of_rank = start + rank * block.stride;
        size_t of_weight = start + network_->Position(rank, vectors[k]) * block.stride;
        if (array_.values) {
          array_.result[of_weight] = array_.values[of_rank];
        } else {
          array_.result[of_rank] = array_.weights[of_weight];
        }
      }
    }
  }

  const Vectors<Word> array_;
  const Blocks blocks_;
  const size_t at_once_;
  std::unique_ptr<Network<Word>> network_;
};

// Longer vectors, by a linear map or by radix sorts. Vectors that are not contiguous are transposed into scratch memory
// and back: a cache line holds a row of a block.
template <class Item>
class RowBody {
  using Word = typename Item::Word;
  using Integer = typename Item::Integer;
  static constexpr size_t kMaxWidth = std::max<size_t>(64 / sizeof(Word), 16);
  static constexpr size_t kPadding = 16;  // of a row; rows a power of two apart would share few lines of the cache
  static constexpr size_t kAhead = 16;    // rows that are fetched before they are needed,
  static constexpr int kLevel2 = 2;       // to the second level: rows a power of two apart evict each other from the first

 public:
  // Vectors in a block: fewer than fill a cache line where threads or scratch memory are short of them.
  static size_t Width(const Vectors<Word>& array, size_t threads) {
    size_t width = array.inner == 1 ? 2 : std::min(kMaxWidth, array.inner);
    auto suits = [&] {
      return Blocks(array, width).Count() >= threads && threads * ScratchBytes(array, width) <= kScratchBytes;
    };
    while (width > 2 && !suits()) width = (width + 1) / 2;
    return width;
  }
  static size_t ScratchBytes(const Vectors<Word>& array, size_t width) {
    size_t copies = array.inner == 1 ? 0 : 2 * width * (array.fan_in + kPadding);
    return copies * sizeof(Word) + 4 * array.fan_in * sizeof(Integer);
  }

  RowBody(const Vectors<Word>& array, const Blocks& blocks, size_t width)
      : array_(array),
        blocks_(blocks),
        transposes_(array.inner != 1),
        pitch_(array.fan_in + kPadding),
        items_(new Integer[4 * array.fan_in]),
        weights_(transposes_ ? new Word[width * pitch_] : nullptr),
        others_(transposes_ ? new Word[width * pitch_] : nullptr) {}

  void operator()(size_t index) {
    Block block = blocks_[index];
    Rows rows[kMaxWidth];
    size_t count = 0;  // for a radix sort
    if (transposes_) Transpose(block);
    for (size_t j = 0; j < block.vectors; ++j) {
      Rows row = RowsOf(block, j);
      bool finite = AllFinite(row.weights, 1, array_.fan_in, array_.infinity);
      if (!finite && array_.values) {
        if (!transposes_) CopyVector(array_, block, j);
      } else if (!finite || !RankByLinearMap(row)) {
        rows[count++] = row;
      }
    }
    for (size_t j = 0; j + 1 < count; j += 2) RankByRadix<2>(rows + j);
    if (count % 2) RankByRadix<1>(rows + count - 1);
    if (transposes_) Store(block);
  }

 private:
  struct Rows {  // of one vector, each contiguous
    const Word* weights;
    const Word* values;
    Word* result;
  };

  Rows RowsOf(const Block& block, size_t j) const {
    if (!transposes_) {
      size_t start = block.start + j * block.pitch;
      return {array_.weights + start, array_.values ? array_.values + start : nullptr, array_.result + start};
    }
    Word *weights = &weights_[j * pitch_], *other = &others_[j * pitch_];
    return {weights, other, array_.values ? weights : other};
  }

  bool RankByLinearMap(const Rows& row) {
    if constexpr (kBits<Word> == 32) {
      if (array_.fan_in > LinearSort::kMaxLength) return false;
      if (array_.values) {
        auto place = [&](size_t rank, size_t position) { row.result[position] = row.values[rank]; };
        return LinearSort::Rank(row.weights, array_.fan_in, items_.get(), place);
      }
      auto sort = [&](size_t rank, size_t position) { row.result[rank] = row.weights[position]; };
      return LinearSort::Rank(row.weights, array_.fan_in, items_.get(), sort);
    }
    return false;
  }

  template <int kRows>
  void RankByRadix(const Rows* rows) {
    Integer *first = items_.get(), *second = first + kRows * array_.fan_in;
    auto load = [&](int row, size_t i) { return Item::Pack(rows[row].weights[i], uint32_t(i)); };
    if (array_.values) {
      auto place = [&](int row, size_t rank, size_t position) {
        rows[row].result[position] = rows[row].values[rank];
      };
      RadixSort<Item, kRows>::Rank(array_.fan_in, first, second, load, place);
    } else {
      auto sort = [&](int row, size_t rank, size_t position) {
        rows[row].result[rank] = rows[row].weights[position];
      };
      RadixSort<Item, kRows>::Rank(array_.fan_in, first, second, load, sort);
    }
  }

  void Transpose(const Block& block) {
    Load(block, array_.weights, weights_.get());
    if (array_.values) Load(block, array_.values, others_.get());
  }

  void Load(const Block& block, const Word* from, Word* to) const {
    ForEachRow(block, [&](size_t i, size_t width) {
      const Word* row = from + block.start + i * block.stride;
      __builtin_prefetch(row + kAhead * block.stride, 0, kLevel2);
      for (size_t j = 0; j < width; ++j) to[j * pitch_ + i] = row[j];
    });
  }

  void Store(const Block& block) const {
    const Word* from = array_.values ? weights_.get() : others_.get();
    ForEachRow(block, [&](size_t i, size_t width) {
      Word* row = array_.result + block.start + i * block.stride;
      __builtin_prefetch(row + kAhead * block.stride, 1, kLevel2);
      for (size_t j = 0; j < width; ++j) row[j] = from[j * pitch_ + i];
    });
  }

  // The width of a full block is a constant to the compiler.
  template <class Row>
  void ForEachRow(const Block& block, const Row& row) const {
    if (block.vectors == kMaxWidth) {
      for (size_t i = 0; i < array_.fan_in; ++i) row(i, kMaxWidth);
    } else {
      for (size_t i = 0; i < array_.fan_in; ++i) row(i, block.vectors);
    }
  }

  const Vectors<Word> array_;
  const Blocks blocks_;
  const bool transposes_;
  const size_t pitch_;
  std::unique_ptr<Integer[]> items_;
  std::unique_ptr<Word[]> weights_, others_;  // transposed; the others are values, or sorted weights
};

template <class Word>
void NetworkSync(Pool& pool, const Vectors<Word>& array) {
  Blocks blocks(array, NetworkBody<Word>::kWidth);
  size_t at_once = 1 + kWeightsAtOnce / (array.fan_in * NetworkBody<Word>::kWidth);
  size_t threads = array.Size() < kParallelWeights ? 1 : pool.Threads();
  ParallelFor(pool, (blocks.Count() + at_once - 1) / at_once, threads,
              [&] { return NetworkBody<Word>(array, blocks, at_once); });
}

template <class Item>
void RowSync(Pool& pool, const Vectors<typename Item::Word>& array) {
  using Body = RowBody<Item>;
  size_t threads = array.Size() < kParallelWeights ? 1 : std::min(pool.Threads(), array.Count());
  size_t width = Body::Width(array, threads);
  threads = std::min(threads, std::max<size_t>(1, kScratchBytes / Body::ScratchBytes(array, width)));
  Blocks blocks(array, width);
  ParallelFor(pool, blocks.Count(), threads, [&] { return Body(array, blocks, width); });
}

}  // namespace laperm

#endif  // LAPERM_BLOCK_SYNC_H_

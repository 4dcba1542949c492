// Long vectors, one after the other: all threads share one, in scratch memory of a fixed size.
//
// The items of a vector are taken a window at a time: a range of items in sorted order that scratch memory has room
// for. Histograms of the items' leading bits tell where windows begin. For each window the vector is read once more:
//
//   gather   copies the window's items, divided into tasks by their leading bits, each in the order of position;
//   sort     one task on one thread, by the remaining bits of the key, and writes the results.
//
// A bin of the histogram that does not fit in a window is divided by the next bits: of the key, and for equal keys of
// the position. All items differ, so that this ends.

#ifndef LAPERM_LONG_SYNC_H_
#define LAPERM_LONG_SYNC_H_

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "block_sync.h"
#include "parallel.h"
#include "radix_sort.h"
#include "vectors.h"

namespace laperm {

constexpr size_t kMaxChunks = 64;
constexpr size_t kTaskItems = 1 << 15;  // that one thread sorts in its cache
constexpr size_t kWordBits = 64;        // of the bitmap

template <class Word>
class LongSync {
  using Item = laperm::Item<Word>;
  using Integer = typename Item::Integer;
  using Sorter = RadixSort<Item, 1>;

 public:
  // Items in a window at most: half of the scratch memory is for their sort.
  static constexpr size_t kWindow = kScratchBytes / 2 / sizeof(Integer);

  LongSync(Pool& pool, const Vectors<Word>& array)
      : pool_(pool),
        array_(array),
        stride_(array.inner),
        digit_bits_(array.fan_in < (1 << 20) ? 12 : 16),
        items_(new Integer[2 * std::min(kWindow, array.fan_in)]) {
    size_t chunks = std::min({kMaxChunks, 2 * pool.Threads(), 1 + array.fan_in / kTaskItems});
    size_t words = (array.fan_in + kWordBits - 1) / kWordBits;
    chunk_ = (words + chunks - 1) / chunks * kWordBits;
    chunks_ = (array.fan_in + chunk_ - 1) / chunk_;
    if (array.InPlace()) done_.resize(words);
  }

  // The vector that begins at this element of the array.
  void Do(size_t start) {
    start_ = start;
    if (array_.values && !AllFinite()) {
      ForEachChunk([&](size_t, size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) array_.result[At(i)] = array_.weights[At(i)];
      });
      return;
    }
    std::fill(done_.begin(), done_.end(), 0);
    Divide(0, 0, 0);
  }

 private:
  // Bins [first, last) of a histogram, and the rank of their first item.
  struct Window {
    size_t first, last, rank;
  };
  struct Task {
    size_t begin, end;  // items of the window
  };
  using Counts = std::vector<std::vector<uint32_t>>;  // (chunks, bins)

  size_t At(size_t position) const { return start_ + position * stride_; }
  Integer ItemAt(size_t position) const { return Item::Pack(array_.weights[At(position)], uint32_t(position)); }

  template <class Chunk>
  void ForEachChunk(const Chunk& chunk) {
    ParallelFor(pool_, chunks_, chunks_, [&] {
      return [&](size_t index) { chunk(index, index * chunk_, std::min(array_.fan_in, (index + 1) * chunk_)); };
    });
  }

  bool AllFinite() {
    std::atomic<bool> finite{true};
    ForEachChunk([&](size_t, size_t begin, size_t end) {
      if (!laperm::AllFinite(array_.weights + At(begin), stride_, end - begin, array_.infinity)) finite = false;
    });
    return finite;
  }

  // Does the items that begin with `used` bits of `prefix`, of which the first has the given rank.
  void Divide(int used, Integer prefix, size_t rank) {
    int bits = std::min(digit_bits_, Item::kItemBits - used);
    int shift = Item::kItemBits - used - bits;
    size_t bins = size_t(1) << bits;
    std::vector<std::pair<Integer, size_t>> too_large;
    {
      Counts counts = CountBins(shift, prefix << bits, bins);
      Window window{0, 0, rank};
      size_t size = 0;
      for (size_t bin = 0; bin < bins; ++bin) {
        size_t count = 0;
        for (const auto& of_chunk : counts) count += of_chunk[bin];
        if (size + count > kWindow) {
          if (size) DoWindow(shift, prefix << bits, window, counts);
          window = {bin, bin, window.rank + size};
          size = 0;
        }
        if (count > kWindow) {
          too_large.emplace_back(prefix << bits | bin, window.rank);
          window = {bin + 1, bin + 1, window.rank + count};
        } else {
          size += count;
          window.last = bin + 1;
        }
      }
      if (size) DoWindow(shift, prefix << bits, window, counts);
    }
    for (const auto& [bin, bin_rank] : too_large) Divide(used + bits, bin, bin_rank);
  }

  // Calls visit(item, bin) for the items of a chunk whose bin, counted from `first`, is below `bins`; in order of
  // position. What visit returns is whether the item is done.
  template <class Visit>
  void Scan(size_t begin, size_t end, int shift, Integer first, size_t bins, const Visit& visit) {
    for (size_t i = begin; i < end;) {
      uint64_t* done = done_.empty() ? nullptr : &done_[i / kWordBits];
      uint64_t skipped = done ? *done : 0, bit = 1;
      for (size_t stop = std::min(end, i + kWordBits); i < stop; ++i, bit <<= 1) {
        Integer item = ItemAt(i), bin = (item >> shift) - first;
        if (bin < bins && !(skipped & bit) && visit(item, size_t(bin)) && done) *done |= bit;
      }
    }
  }

  Counts CountBins(int shift, Integer first, size_t bins) {
    Counts counts(chunks_, std::vector<uint32_t>(bins));
    ForEachChunk([&](size_t chunk, size_t begin, size_t end) {
      uint32_t* count = counts[chunk].data();
      Scan(begin, end, shift, first, bins, [count](Integer, size_t bin) { return ++count[bin], false; });
    });
    return counts;
  }

  void DoWindow(int shift, Integer first_bin, const Window& window, const Counts& counts) {
    size_t bins = window.last - window.first;
    std::vector<uint32_t> task_of(bins);  // by bin
    std::vector<Task> tasks = Tasks(window, counts, task_of);
    std::vector<std::vector<size_t>> ends(chunks_, std::vector<size_t>(tasks.size()));  // of what a chunk has written
    for (size_t bin = 0; bin < bins; ++bin) {
      for (size_t chunk = 0; chunk < chunks_; ++chunk) {
        ends[chunk][task_of[bin]] += counts[chunk][window.first + bin];
      }
    }
    for (size_t task = 0; task < tasks.size(); ++task) {
      size_t begin = tasks[task].begin;
      for (auto& of_chunk : ends) begin += std::exchange(of_chunk[task], begin);
    }
    ForEachChunk([&](size_t chunk, size_t begin, size_t end) {
      size_t* to = ends[chunk].data();
      Scan(begin, end, shift, first_bin + window.first, bins, [&](Integer item, size_t bin) {
        items_[to[task_of[bin]]++] = item;
        return true;
      });
    });
    ParallelFor(pool_, tasks.size(), tasks.size(), [&] {
      return [&](size_t task) { DoTask(tasks[task], window.rank); };
    });
  }

  // Bins next to each other, together of a size for the cache; none is empty.
  std::vector<Task> Tasks(const Window& window, const Counts& counts, std::vector<uint32_t>& task_of) const {
    std::vector<Task> tasks{{0, 0}};
    for (size_t bin = window.first; bin < window.last; ++bin) {
      size_t count = 0;
      for (const auto& of_chunk : counts) count += of_chunk[bin];
      size_t begin = tasks.back().begin, end = tasks.back().end;
      if (count && end > begin && end - begin + count > kTaskItems) tasks.push_back({end, end});
      tasks.back().end += count;
      task_of[bin - window.first] = uint32_t(tasks.size() - 1);
    }
    return tasks;
  }

  void DoTask(const Task& task, size_t first_rank) {
    Integer* items = items_.get() + task.begin;
    Integer* scratch = items_.get() + std::min(kWindow, array_.fan_in) + task.begin;
    auto load = [items](int, size_t i) { return items[i]; };
    if (array_.values) {
      auto place = [&](int, size_t rank, size_t position) {
        array_.result[At(position)] = array_.values[At(first_rank + task.begin + rank)];
      };
      Sorter::Rank(task.end - task.begin, scratch, items, load, place);
    } else {
      auto sort = [&](int, size_t rank, size_t position) {
        array_.result[At(first_rank + task.begin + rank)] = array_.weights[At(position)];
      };
      Sorter::Rank(task.end - task.begin, scratch, items, load, sort);
    }
  }

  Pool& pool_;
  const Vectors<Word> array_;
  const size_t stride_;
  const int digit_bits_;
  size_t start_ = 0, chunk_, chunks_;  // positions in a chunk: whole words of the bitmap
  std::unique_ptr<Integer[]> items_;
  std::vector<uint64_t> done_;  // a bit for each position, where results overwrite weights
};

}  // namespace laperm

#endif  // LAPERM_LONG_SYNC_H_

// One sync of an array: sorts its vectors, or places values by the ranks of its weights.

#ifndef LAPERM_SYNC_H_
#define LAPERM_SYNC_H_

#include "block_sync.h"
#include "float_bits.h"
#include "long_sync.h"
#include "network.h"
#include "parallel.h"
#include "vectors.h"

namespace laperm {

constexpr size_t kShortItemLength = 1 << 16;
constexpr size_t kShareLength = 1 << 16;  // from which threads share a vector, where vectors are too few for them
constexpr size_t kLongLength = 1 << 20;   // and where they are many: one at a time, for the sake of scratch memory

template <class Word>
void Sync(Pool& pool, const Vectors<Word>& array) {
  if (array.fan_in <= kNetworkLength) {
    NetworkSync<Word>(pool, array);
  } else if (array.fan_in > kLongLength || (array.fan_in >= kShareLength && array.Count() < pool.Threads())) {
    LongSync<Word> sync(pool, array);
    for (size_t outer = 0; outer < array.outer; ++outer) {
      for (size_t inner = 0; inner < array.inner; ++inner) sync.Do(outer * array.fan_in * array.inner + inner);
    }
  } else if (array.fan_in <= kShortItemLength) {
    RowSync<ShortItem<Word>>(pool, array);
  } else {
    RowSync<Item<Word>>(pool, array);
  }
}

}  // namespace laperm

#endif  // LAPERM_SYNC_H_

// A parallel loop on a thread pool that is shared with others.

#ifndef LAPERM_PARALLEL_H_
#define LAPERM_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <new>

namespace laperm {

class Pool {
 public:
  virtual ~Pool() = default;
  virtual size_t Threads() const = 0;
  // Runs the task at some time on some thread, possibly at once on this one.
  virtual void Schedule(std::function<void()> task) = 0;
};

namespace internal {

// What the threads of one loop share. It outlives the loop: a task may start after the loop has ended.
struct LoopState {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::condition_variable idle;
  size_t working = 0;
  bool ended = false;
};

}  // namespace internal

// Calls body(index) once for every index below `count`, on this thread and on up to `max_threads - 1` of the pool.
//
// Each thread calls make_body() once: what it returns owns that thread's scratch memory. The loop waits only for tasks
// that have started. The pool's threads may all be inside loops like this one, so that waiting for a task in the queue
// could be a deadlock.
//
// Throws std::bad_alloc if no thread had the memory to do all the work. Bodies must not throw.
template <class MakeBody>
void ParallelFor(Pool& pool, size_t count, size_t max_threads, const MakeBody& make_body) {
  auto state = std::make_shared<internal::LoopState>();
  auto work = [count, &make_body](internal::LoopState& loop) {
    if (loop.next.load(std::memory_order_relaxed) >= count) return;
    try {
      auto body = make_body();
      for (size_t i; (i = loop.next.fetch_add(1, std::memory_order_relaxed)) < count;) body(i);
    } catch (const std::bad_alloc&) {
      // Only make_body allocates: no index was taken, and another thread may take it.
    }
  };
  size_t threads = std::min({pool.Threads(), max_threads, count});
  for (size_t helper = 1; helper < threads; ++helper) {
    pool.Schedule([state, &work] {
      {
        std::lock_guard<std::mutex> lock(state->mutex);
        if (state->ended) return;  // `work` is gone
        ++state->working;
      }
      work(*state);
      std::lock_guard<std::mutex> lock(state->mutex);
      if (--state->working == 0) state->idle.notify_all();
    });
  }
  work(*state);
  std::unique_lock<std::mutex> lock(state->mutex);
  state->ended = true;
  state->idle.wait(lock, [&] { return state->working == 0; });
  if (state->next.load(std::memory_order_relaxed) < count) throw std::bad_alloc();
}

}  // namespace laperm

#endif  // LAPERM_PARALLEL_H_

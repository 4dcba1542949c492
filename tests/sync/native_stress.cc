// Runs the native kernel without JAX, under a sanitizer, against std::stable_sort; see test_native_library.py.

#include <cstdio>
#include <cstring>
#include <deque>
#include <random>
#include <thread>
#include <vector>

#include "sync.h"

namespace {

using laperm::Vectors;

class ThreadPool : public laperm::Pool {
 public:
  explicit ThreadPool(size_t threads) {
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
  }
  ~ThreadPool() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  size_t Threads() const override { return threads_.size(); }
  void Schedule(std::function<void()> task) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
  }

 private:
  void Run() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

// Words of any bits, few different ones, or ones whose NaN and inf have been made finite.
template <class Word>
std::vector<Word> Draw(size_t size, int kind, Word infinity, std::mt19937_64& random) {
  std::vector<Word> words(size);
  for (Word& word : words) {
    word = Word(random());
    if (kind == 1) word = Word(word % 5);
    if (kind > 0 && !laperm::IsFinite(word, infinity)) word ^= Word(infinity & (0 - infinity));
  }
  return words;
}

template <class Word>
bool Check(laperm::Pool& pool, size_t outer, size_t fan_in, size_t inner, Word infinity, int kind) {
  std::mt19937_64 random(outer + 31 * fan_in + 1009 * inner + kind);
  size_t size = outer * fan_in * inner;
  std::vector<Word> weights = Draw(size, kind, infinity, random), values(size), sorted(size), placed(size);
  for (size_t i = 0; i < size; ++i) values[i] = Word(i);
  laperm::Sync<Word>(pool, {weights.data(), nullptr, sorted.data(), outer, fan_in, inner, infinity});
  laperm::Sync<Word>(pool, {weights.data(), values.data(), placed.data(), outer, fan_in, inner, infinity});
  std::vector<Word> in_place = weights;
  laperm::Sync<Word>(pool, {in_place.data(), values.data(), in_place.data(), outer, fan_in, inner, infinity});

  bool right = in_place == placed;
  std::vector<size_t> order(fan_in);
  for (size_t vector = 0; vector < outer * inner; ++vector) {
    size_t start = vector / inner * fan_in * inner + vector % inner;
    bool finite = laperm::AllFinite(&weights[start], inner, fan_in, infinity);
    for (size_t i = 0; i < fan_in; ++i) order[i] = start + i * inner;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return laperm::OrderKey(weights[a]) < laperm::OrderKey(weights[b]);
    });
    for (size_t rank = 0; rank < fan_in; ++rank) {
      size_t of_rank = start + rank * inner, of_weight = order[rank];
      right &= sorted[of_rank] == weights[of_weight];
      right &= placed[of_weight] == (finite ? values[of_rank] : weights[of_weight]);
    }
  }
  if (!right) std::printf("wrong: %zu bits, (%zu, %zu, %zu), kind %d\n", 8 * sizeof(Word), outer, fan_in, inner, kind);
  return right;
}

bool CheckFormats(laperm::Pool& pool, size_t outer, size_t fan_in, size_t inner) {
  bool right = true;
  for (int kind = 0; kind < 3; ++kind) {
    right &= Check<uint16_t>(pool, outer, fan_in, inner, 0x7c00, kind);
    right &= Check<uint16_t>(pool, outer, fan_in, inner, 0x7f80, kind);
    right &= Check<uint32_t>(pool, outer, fan_in, inner, 0x7f800000, kind);
    right &= Check<uint64_t>(pool, outer, fan_in, inner, 0x7ff0000000000000, kind);
  }
  return right;
}

}  // namespace

int main() {
  ThreadPool pool(4);
  std::atomic<bool> right{true};
  auto work = [&](size_t part) {  // several calls share the pool, as in XLA
    for (size_t fan_in : {1, 2, 3, 9, 40, 63, 64, 65, 257, 4608, 16385}) {
      for (size_t inner : {1, 3, 16, 35}) {
        if (!CheckFormats(pool, 1 + part, fan_in, inner)) right = false;
      }
    }
    for (size_t fan_in : {65536, 65537, 100000}) {
      if (!CheckFormats(pool, 1, fan_in, 1 + part)) right = false;
    }
  };
  std::vector<std::thread> threads;
  for (size_t part = 0; part < 3; ++part) threads.emplace_back(work, part);
  for (std::thread& thread : threads) thread.join();
  if (!CheckFormats(pool, 1, (1 << 20) + 1, 2)) right = false;  // longer than LAPERM_SCRATCH_BYTES allows at once
  std::puts(right ? "all right" : "wrong");
  return right ? 0 : 1;
}

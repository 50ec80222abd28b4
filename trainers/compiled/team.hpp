// Threads that share members out, and then the samples of one member.
//
// Every number is computed by the same instructions in the same order, whatever the number of threads.
#pragma once
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "vectors.hpp"

namespace {

// Of a forward pass; with fewer, a thread is woken for longer than it works.
constexpr long PRODUCTS_A_THREAD = 4'000'000;

// Where all threads of a team wait for the last; they are busy, so they soon give way to others.
struct alignas(64) Barrier {
  std::atomic<int> arrived{0}, round{0};
  void meet(int of) {
    int now = round.load(std::memory_order_acquire);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == of) {
      arrived.store(0, std::memory_order_relaxed);
      round.store(now + 1, std::memory_order_release);
      return;
    }
    for (int turns = 0; round.load(std::memory_order_acquire) == now; turns++)
      if (turns > 2000) std::this_thread::yield();
  }
};

// A thread's place in the team that computes a member.
struct Seat {
  int place = 0, of = 1;
  Barrier* barrier = nullptr;
  bool leads() const { return place == 0; }
  void meet() const { if (of > 1) barrier->meet(of); }
  // This thread's share of `all` things in a row.
  long from(long all) const { return all * place / of; }
  long to(long all) const { return all * (place + 1) / of; }
};

// Threads that sleep between calls; a new thread would take a millisecond to move to a core of its own.
// They keep the floating-point settings and the cores of the thread whose call started them.
class Pool {
  std::mutex guard;
  std::condition_variable wake, done;
  const std::function<void(long)>* job = nullptr;
  long helpers = 0, wanted = 0, left = 0, round = 0;
  std::atomic<bool> busy{false};

  void help(long thread, long seen) {
    std::unique_lock<std::mutex> lock(guard);
    while (true) {
      wake.wait(lock, [&] { return round != seen; });
      seen = round;
      if (thread >= wanted) continue;
      lock.unlock();
      (*job)(thread);
      lock.lock();
      if (--left == 0) done.notify_one();
    }
  }

 public:
  static Pool& here() {
    static std::atomic<Pool*> made{nullptr};  // never destroyed: its threads live as long as the process
    static const int forgotten = pthread_atfork(nullptr, nullptr, [] { made = nullptr; });  // a fork has none
    (void)forgotten;
    Pool* found = made.load();
    if (found) return *found;
    Pool* fresh = new Pool();
    if (made.compare_exchange_strong(found, fresh)) return *fresh;
    delete fresh;
    return *found;
  }
  bool take() { return !busy.exchange(true, std::memory_order_acquire); }
  void give() { busy.store(false, std::memory_order_release); }
  // f(thread) on all threads at once, of which the caller is the first.
  void run(long threads, const std::function<void(long)>& f) {
    {
      std::lock_guard<std::mutex> lock(guard);
      for (; helpers < threads - 1; helpers++) std::thread(&Pool::help, this, helpers + 1, round).detach();
      job = &f, wanted = threads, left = threads - 1, round++;
    }
    wake.notify_all();
    f(0);
    std::unique_lock<std::mutex> lock(guard);
    done.wait(lock, [&] { return left == 0; });
  }
};

// What a thread computes now: a member, in the memory of its team, with a share of the team's work.
struct Turn {
  long member, memory, thread;
  Seat seat;
};

// The threads of a call. Each takes whole members; members that are left over go to teams of at most
// `most` threads, of the size that is done first. There are no more threads than so many products are
// worth. A caller that finds the pool in use has one thread.
class Crew {
  long members, size, teams, whole;
  Pool* pool = nullptr;

  template <class F> void turns(long thread, Barrier* barriers, F f) const {
    for (long k = thread; k < whole; k += threads) f({k, thread, thread, {}});
    long team = thread / size;
    if (team >= teams) return;
    Seat seat{(int)(thread % size), (int)size, barriers + team};
    for (long k = whole + team; k < members; k += teams) {
      seat.meet();  // now the team's memory is free
      f({k, whole ? team * size : team, thread, seat});
    }
  }

 public:
  long threads;
  Crew(long members, long wanted, long most, long products) : members(members) {
    threads = std::min({wanted, members * most, products / PRODUCTS_A_THREAD});
    if (threads > 1 && Pool::here().take()) pool = &Pool::here();
    if (!pool) threads = 1;
    whole = members / threads * threads, size = 1;
    auto turns_of_a_thread = [&](long n) { return (members - whole + threads / n - 1) / (threads / n); };
    for (long n = 2; n <= std::min(threads, most); n++)
      if (turns_of_a_thread(n) * size < turns_of_a_thread(size) * n) size = n;
    teams = threads / size;
  }
  Crew(const Crew&) = delete;
  ~Crew() { if (pool) pool->give(); }
  long memories() const { return whole ? threads : teams; }
  // f(turn) for all members.
  template <class F> void each(F f) const {
    std::vector<Barrier> barriers(teams);
    if (pool) pool->run(threads, [&](long thread) { turns(thread, barriers.data(), f); });
    else turns(0, barriers.data(), f);
  }
};

}  // namespace

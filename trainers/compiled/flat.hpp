// Sums and updates of a member's numbers in a layer-major tensor, in an order that depends on nothing else.
#pragma once
#include "program.hpp"

namespace {

// Blocks of (place, size) for one member.
template <class F> void each_block(const int64_t* blocks, int64_t count, int64_t members, int64_t k, F f) {
  for (int64_t i = 0; i < count; i++) f(i, members * blocks[2 * i] + k * blocks[2 * i + 1], blocks[2 * i + 1]);
}

// The Euclidean norm: 64 sums of squares, whatever the vectors of this processor, and their sum in float64.
inline float norm_of(const int64_t* blocks, int64_t count, int64_t members, int64_t k, const float* flat) {
  constexpr int WIDE = 64, N = WIDE / LANES;
  double total = 0;
  each_block(blocks, count, members, k, [&](int64_t, int64_t at, int64_t size) {
    const float* x = flat + at;
    vec sum[N] = {};
    int64_t i = 0;
    for (; i + WIDE <= size; i += WIDE)
      EACH for (int n = 0; n < N; n++) {
        vec a = load(x + i + n * LANES);
        sum[n] += a * a;
      }
    float lanes[WIDE];
    for (int n = 0; n < N; n++) store(lanes + n * LANES, sum[n]);
    for (int64_t j = 0; i < size; i++, j++) lanes[j] += x[i] * x[i];
    double of_block = 0;
    for (float lane : lanes) of_block += lane;
    total += of_block;
  });
  return (float)std::sqrt(total);
}

inline void scale(float* x, float factor, int64_t size) {
  int64_t i = 0;
  for (; i + LANES <= size; i += LANES) store(x + i, load(x + i) * all(factor));
  for (; i < size; i++) x[i] *= factor;
}

// f(vectors) for whole vectors, then for what is left of them in a padded copy: the same arithmetic.
template <int N, class F> void elementwise(float* (&at)[N], int64_t size, F f) {
  int64_t i = 0;
  vec now[N];
  for (; i + LANES <= size; i += LANES) {
    EACH for (int n = 0; n < N; n++) now[n] = load(at[n] + i);
    f(now);
    EACH for (int n = 0; n < N; n++) store(at[n] + i, now[n]);
  }
  if (i == size) return;
  EACH for (int n = 0; n < N; n++) now[n] = load(at[n] + i, size - i);
  f(now);
  EACH for (int n = 0; n < N; n++) store(at[n] + i, now[n], size - i);
}

// Stochastic gradient descent with momentum; the gradient is left as it is.
struct Sgd {
  float rate, momentum, decay;
  bool nesterov;
  void operator()(float* data, const float* grad, float* velocity, bool decays, int64_t size) const {
    float* at[] = {data, (float*)grad, velocity};
    vec by_decay = all(decays ? decay : 0.f), by_momentum = all(momentum), by_rate = all(rate);
    elementwise(at, size, [&](vec* x) {
      vec g = decays && decay != 0.f ? x[1] + x[0] * by_decay : x[1];
      x[2] = g + x[2] * by_momentum;
      x[0] -= (nesterov ? g + x[2] * by_momentum : x[2]) * by_rate;
    });
  }
};
// AdamW. shrink: 1 - rate * decay; root: 1 / the root of 1 - beta2^t; rate has the first moment's correction.
struct Adam {
  float rate, first, second, shrink, root;
  void operator()(float* data, const float* grad, float* mean, float* square, bool decays, int64_t size) const {
    float* at[] = {data, (float*)grad, mean, square};
    vec by_shrink = all(decays ? shrink : 1.f);
    elementwise(at, size, [&](vec* x) {
      vec g = x[1];
      x[2] += (g - x[2]) * all(first);
      x[3] = x[3] * all(1.f - second) + g * g * all(second);
      vec length = x[3];
      for (int i = 0; i < LANES; i++) length[i] = std::sqrt(length[i]);
      x[0] = x[0] * by_shrink - x[2] / (length * all(root) + all(1e-8f)) * all(rate);
    });
  }
};

}  // namespace

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

// f(in, out) for whole vectors, then for what is left of them in a padded copy: the same arithmetic.
template <int R, int W, class F>
void elementwise(const float* const (&reads)[R], float* const (&writes)[W], int64_t size, F f) {
  int64_t i = 0;
  vec in[R], out[W];
  for (; i + LANES <= size; i += LANES) {
    EACH for (int n = 0; n < R; n++) in[n] = load(reads[n] + i);
    f(in, out);
    EACH for (int n = 0; n < W; n++) store(writes[n] + i, out[n]);
  }
  if (i == size) return;
  EACH for (int n = 0; n < R; n++) in[n] = load(reads[n] + i, size - i);
  f(in, out);
  EACH for (int n = 0; n < W; n++) store(writes[n] + i, out[n], size - i);
}

// to + factor x.
inline void add_scaled(float* to, const float* x, float factor, int64_t size) {
  const float* reads[] = {to, x};
  float* writes[] = {to};
  vec by = all(factor);
  elementwise(reads, writes, size, [&](const vec* in, vec* out) { out[0] = in[0] + in[1] * by; });
}

// Stochastic gradient descent with momentum; the gradient is left as it is.
struct Sgd {
  float rate, momentum, decay;
  bool nesterov;
  void operator()(float* data, const float* grad, float* velocity, bool decays, int64_t size) const {
    const float* reads[] = {data, grad, velocity};
    float* writes[] = {data, velocity};
    vec by_decay = all(decays ? decay : 0.f), by_momentum = all(momentum), by_rate = all(rate);
    elementwise(reads, writes, size, [&](const vec* in, vec* out) {
      vec g = decays && decay != 0.f ? in[1] + in[0] * by_decay : in[1];
      out[1] = g + in[2] * by_momentum;
      out[0] = in[0] - (nesterov ? g + out[1] * by_momentum : out[1]) * by_rate;
    });
  }
};
// AdamW. shrink: 1 - rate * decay; root: 1 / the root of 1 - beta2^t; rate has the first moment's correction.
struct Adam {
  float rate, first, second, shrink, root;
  void operator()(float* data, const float* grad, float* mean, float* square, bool decays, int64_t size) const {
    const float* reads[] = {data, grad, mean, square};
    float* writes[] = {data, mean, square};
    vec by_shrink = all(decays ? shrink : 1.f);
    elementwise(reads, writes, size, [&](const vec* in, vec* out) {
      vec g = in[1];
      out[1] = in[2] + (g - in[2]) * all(first);
      out[2] = in[3] * all(1.f - second) + g * g * all(second);
      vec length = out[2];
      for (int i = 0; i < LANES; i++) length[i] = std::sqrt(length[i]);
      out[0] = in[0] * by_shrink - out[1] / (length * all(root) + all(1e-8f)) * all(rate);
    });
  }
};

}  // namespace

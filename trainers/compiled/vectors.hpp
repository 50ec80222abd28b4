// Vectors of LANES floats, by the compiler's vector extension. Included once for each level.
//
// LEVEL is 512 (AVX-512), 256 (AVX2 with FMA) or 128 (the portable level, which is NEON on ARM).
// A sum runs over the same terms in the same order at every level; only whether a product is rounded
// before it is added depends on the processor.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#if LEVEL == 512
#define LANES 16
#elif LEVEL == 256
#define LANES 8
#else
#define LANES 4
#endif

namespace {

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define EACH _Pragma("GCC unroll 16")

inline vec load(const float* p) { return *(const vec*)p; }
inline void store(float* p, vec a) { *(vec*)p = a; }
inline vec all(float a) { return a - vec{}; }
inline long padded(long n) { return (n + LANES - 1) / LANES * LANES; }

// The first n lanes only.
inline vec load(const float* p, int n) {
  if (n == LANES) return load(p);
  float lanes[LANES] = {};
  std::memcpy(lanes, p, sizeof(float) * n);
  return load(lanes);
}
inline void store(float* p, vec a, int n) {
  if (n == LANES) return store(p, a);
  float lanes[LANES];
  store(lanes, a);
  std::memcpy(p, lanes, sizeof(float) * n);
}

}  // namespace

// Convolutions and linear layers of one member: direct, without copies of the input.
//
// Letters: C channels in, O channels out, T taps of a kernel; rows of pixels have their channels
// padded to whole vectors, and what is padded is zero.
#pragma once
#include <map>
#include <utility>

#include "vectors.hpp"

namespace {

// Pixels that see the same taps of a kernel are computed together, so nothing is added for padding.
struct Taps {
  std::vector<int> tap;    // which weights
  std::vector<int> shift;  // from a pixel's place in the input, in floats
};
struct Tile {
  int taps, pixels;
  int in[12], out[12];
};
// How each output pixel of G samples is computed from input pixels.
struct Geometry {
  std::vector<Taps> taps;
  std::vector<Tile> tiles;
  int vectors;  // of outputs that a tile computes at once
};

inline int vectors_at_once(long outputs) {
  long n = outputs / LANES;
  return n % 4 == 0 ? 4 : n % 3 == 0 ? 3 : n % 2 == 0 ? 2 : 1;
}
inline int most_pixels(int vectors) {
#if LEVEL == 512
  return vectors == 4 ? 6 : vectors == 3 ? 8 : 12;
#else
  return vectors == 4 ? 3 : vectors == 3 ? 4 : vectors == 2 ? 6 : 12;
#endif
}

// Rows of `in` and `out` have in_stride and out_stride floats. With `back` it is the gradient with
// respect to the input: a pixel sums over the outputs that it was used for.
Geometry geometry(int in_h, int in_w, int out_h, int out_w, int kernel, int stride, bool back,
                         int samples, int in_stride, int out_stride) {
  Geometry made;
  made.vectors = vectors_at_once(out_stride);
  int padding = kernel > stride ? kernel / 2 : 0;
  std::map<std::vector<int>, std::vector<std::pair<int, int>>> alike;
  for (int b = 0; b < samples; b++)
    for (int y = 0; y < out_h; y++)
      for (int x = 0; x < out_w; x++) {
        int base = back ? (y / stride) * in_w + x / stride : (y * in_w + x) * stride;
        std::vector<int> key;
        for (int dy = 0; dy < kernel; dy++)
          for (int dx = 0; dx < kernel; dx++) {
            int iy = y * stride - padding + dy, ix = x * stride - padding + dx;
            if (back) {
              iy = y + padding - dy, ix = x + padding - dx;
              if (iy < 0 || ix < 0 || iy % stride || ix % stride) continue;
              iy /= stride, ix /= stride;
            }
            if (iy < 0 || ix < 0 || iy >= in_h || ix >= in_w) continue;
            key.push_back(dy * kernel + dx);
            key.push_back((iy * in_w + ix - base) * in_stride);
          }
        alike[key].push_back(
            {(b * in_h * in_w + base) * in_stride, ((b * out_h + y) * out_w + x) * out_stride});
      }
  int most = most_pixels(made.vectors);
  for (auto& [key, pixels] : alike) {
    Taps taps;
    for (size_t i = 0; i < key.size(); i += 2) taps.tap.push_back(key[i]), taps.shift.push_back(key[i + 1]);
    int left = pixels.size(), number = (left + most - 1) / most, first = 0;
    for (; number; number--) {
      Tile tile{(int)made.taps.size(), (left + number - 1) / number, {}, {}};
      for (int p = 0; p < tile.pixels; p++)
        tile.in[p] = pixels[first + p].first, tile.out[p] = pixels[first + p].second;
      made.tiles.push_back(tile);
      first += tile.pixels, left -= tile.pixels;
    }
    made.taps.push_back(taps);
  }
  return made;
}

// Weights as [tap][c][o], where the numbers of consecutive c are `row` floats apart.
struct Weights {
  const float* at;
  long tap, row;
};

// out = (bias | out | 0) + sum over taps and channels of in * weights.
template <int P, int N>
inline void tile_of(const Taps& taps, const Tile& tile, const float* in, Weights w,
                           const float* bias, bool add, float* out, int channels) {
  vec sum[P][N];
  EACH for (int p = 0; p < P; p++)
    EACH for (int n = 0; n < N; n++)
      sum[p][n] = add ? load(out + tile.out[p] + n * LANES) : bias ? load(bias + n * LANES) : vec{};
  for (size_t i = 0; i < taps.tap.size(); i++) {
    const float *row = w.at + taps.tap[i] * w.tap, *from[P];
    EACH for (int p = 0; p < P; p++) from[p] = in + tile.in[p] + taps.shift[i];
    for (int c = 0; c < channels; c++, row += w.row) {
      vec weight[N];
      EACH for (int n = 0; n < N; n++) weight[n] = load(row + n * LANES);
      EACH for (int p = 0; p < P; p++) {
        vec x = all(from[p][c]);
        EACH for (int n = 0; n < N; n++) sum[p][n] += x * weight[n];
      }
    }
  }
  EACH for (int p = 0; p < P; p++)
    EACH for (int n = 0; n < N; n++) store(out + tile.out[p] + n * LANES, sum[p][n]);
}

template <int N, int P>
void tiles_of(const Geometry& g, const Tile& tile, const float* in, Weights w,
                     const float* bias, bool add, float* out, int channels) {
  if constexpr (P > 1) {
    if (tile.pixels < P) return tiles_of<N, P - 1>(g, tile, in, w, bias, add, out, channels);
  }
  tile_of<P, N>(g.taps[tile.taps], tile, in, w, bias, add, out, channels);
}

void convolve(const Geometry& g, const float* in, Weights w, const float* bias, bool add,
                     float* out, int channels, int outputs) {
  for (int o = 0; o < outputs; o += g.vectors * LANES) {
    Weights part{w.at + o, w.tap, w.row};
    const float* own = bias ? bias + o : nullptr;
    for (auto& tile : g.tiles) switch (g.vectors) {
        case 4: tiles_of<4, LEVEL == 512 ? 6 : 3>(g, tile, in, part, own, add, out + o, channels); break;
        case 3: tiles_of<3, LEVEL == 512 ? 8 : 4>(g, tile, in, part, own, add, out + o, channels); break;
        case 2: tiles_of<2, LEVEL == 512 ? 12 : 6>(g, tile, in, part, own, add, out + o, channels); break;
        default: tiles_of<1, 12>(g, tile, in, part, own, add, out + o, channels);
      }
  }
}

// Runs of pixels for the gradient of weights: for each tap, (input, output, length) in floats.
struct Runs {
  std::vector<std::vector<int>> of_tap;
  int step;  // from one pixel of a run to the next, in the input
};
Runs runs(int in_h, int in_w, int out_h, int out_w, int kernel, int stride, int samples,
                 int in_stride, int out_stride) {
  Runs made{std::vector<std::vector<int>>(kernel * kernel), stride * in_stride};
  int padding = kernel > stride ? kernel / 2 : 0;
  for (int b = 0; b < samples; b++)
    for (int y = 0; y < out_h; y++)
      for (int t = 0; t < kernel * kernel; t++) {
        int iy = y * stride - padding + t / kernel, dx = t % kernel - padding;
        if (iy < 0 || iy >= in_h) continue;
        int low = 0, high = out_w;
        while (low < out_w && low * stride + dx < 0) low++;
        while (high > low && (high - 1) * stride + dx >= in_w) high--;
        if (high <= low) continue;
        auto& found = made.of_tap[t];
        int in = ((b * in_h + iy) * in_w + low * stride + dx) * in_stride;
        int out = ((b * out_h + y) * out_w + low) * out_stride;
        size_t n = found.size();
        bool joins = n && found[n - 3] + found[n - 1] * made.step == in &&
                     found[n - 2] + found[n - 1] * out_stride == out;
        if (joins) found[n - 1] += high - low;
        else found.insert(found.end(), {in, out, high - low});
      }
  return made;
}

// sum[r][v] += over pixels of rows[r] * columns[v]; `to` has rows of `apart` floats.
template <int R, int N>
inline void outer(const std::vector<int>& runs, bool swapped, const float* rows, int row_step,
                         const float* columns, int column_step, float* to, long apart, int last,
                         bool first) {
  vec sum[R][N];
  EACH for (int r = 0; r < R; r++)
    EACH for (int n = 0; n < N; n++)
      sum[r][n] = first ? vec{} : load(to + r * apart + n * LANES, n == N - 1 ? last : LANES);
  for (size_t i = 0; i < runs.size(); i += 3) {
    const float *row = rows + runs[i + !swapped], *column = columns + runs[i + swapped];
    for (int left = runs[i + 2]; left; left--, row += row_step, column += column_step) {
      vec x[N];
      EACH for (int n = 0; n < N; n++) x[n] = load(column + n * LANES);
      EACH for (int r = 0; r < R; r++) {
        vec y = all(row[r]);
        EACH for (int n = 0; n < N; n++) sum[r][n] += y * x[n];
      }
    }
  }
  EACH for (int r = 0; r < R; r++)
    EACH for (int n = 0; n < N; n++)
      store(to + r * apart + n * LANES, sum[r][n], n == N - 1 ? last : LANES);
}

template <int N, int R>
void outer_rows(int left, const std::vector<int>& runs, bool swapped, const float* rows,
                       int row_step, const float* columns, int column_step, float* to, long apart,
                       int last, bool first) {
  if constexpr (R > 1) {
    if (left < R)
      return outer_rows<N, R - 1>(left, runs, swapped, rows, row_step, columns, column_step, to,
                                  apart, last, first);
  }
  outer<R, N>(runs, swapped, rows, row_step, columns, column_step, to, apart, last, first);
}

// The gradient of weights: `to`[row][tap][column], added to what is there unless it is the first.
// Rows are outputs and columns inputs; `swapped` (linear layers): rows are inputs. Tile i of them is
// left to others unless i is `part` modulo `of`.
void weigh(const Runs& runs, bool swapped, const float* in, const float* grad, int out_stride,
                  float* to, int row_count, int column_count, bool first, int part, int of) {
  const float *rows = swapped ? in : grad, *columns = swapped ? grad : in;
  int row_step = swapped ? runs.step : out_stride, column_step = swapped ? out_stride : runs.step;
  int taps = runs.of_tap.size();
  long apart = (long)taps * column_count;
  constexpr int most1 = 12, most2 = LEVEL == 512 ? 12 : 6, most4 = LEVEL == 512 ? 6 : 3;
  for (int c = 0, tile = 0; c < column_count;) {
    int left = (column_count - c + LANES - 1) / LANES, n = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    int last = std::min(LANES, column_count - c - (n - 1) * LANES);
    int most = n == 4 ? most4 : n == 2 ? most2 : most1;
    int blocks = (row_count + most - 1) / most;
    for (int r = 0, block = 0; block < blocks; block++) {
      int size = (row_count - r + blocks - block - 1) / (blocks - block);
      for (int t = 0; t < taps; t++, tile++) {
        if (tile % of != part) continue;
        float* at = to + r * apart + (long)t * column_count + c;
        auto& of_tap = runs.of_tap[t];
        if (n == 4) outer_rows<4, most4>(size, of_tap, swapped, rows + r, row_step, columns + c, column_step, at, apart, last, first);
        else if (n == 2) outer_rows<2, most2>(size, of_tap, swapped, rows + r, row_step, columns + c, column_step, at, apart, last, first);
        else outer_rows<1, most1>(size, of_tap, swapped, rows + r, row_step, columns + c, column_step, at, apart, last, first);
      }
      r += size;
    }
    c += n * LANES;
  }
}

// 8x8 numbers, transposed in registers.
typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));
inline void transpose_block(const float* from, long row, float* to, long width) {
  eight a[8], b[8];
  EACH for (int i = 0; i < 8; i++) a[i] = *(const eight*)(from + i * row);
  EACH for (int i = 0; i < 4; i++) {
    b[2 * i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    b[2 * i + 1] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  EACH for (int i = 0; i < 2; i++) {
    eight *p = b + 4 * i, *q = a + 4 * i;
    q[0] = __builtin_shufflevector(p[0], p[2], 0, 1, 8, 9, 4, 5, 12, 13);
    q[1] = __builtin_shufflevector(p[0], p[2], 2, 3, 10, 11, 6, 7, 14, 15);
    q[2] = __builtin_shufflevector(p[1], p[3], 0, 1, 8, 9, 4, 5, 12, 13);
    q[3] = __builtin_shufflevector(p[1], p[3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  EACH for (int i = 0; i < 4; i++) {
    *(eight*)(to + i * width) = __builtin_shufflevector(a[i], a[4 + i], 0, 1, 2, 3, 8, 9, 10, 11);
    *(eight*)(to + (4 + i) * width) = __builtin_shufflevector(a[i], a[4 + i], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}
// (rows, columns) -> (columns, width): width is `rows` padded, and what is padded is zero.
// Consecutive rows of `from` are `row` floats apart.
void transpose(const float* from, long rows, long columns, long row, float* to, long width) {
  long r = 0;
  for (; r + 8 <= rows; r += 8) {
    long c = 0;
    for (; c + 8 <= columns; c += 8) transpose_block(from + r * row + c, row, to + c * width + r, width);
    for (; c < columns; c++)
      for (long i = r; i < r + 8; i++) to[c * width + i] = from[i * row + c];
  }
  if (r == width) return;
  for (long c = 0; c < columns; c++)
    for (long i = r; i < width; i++) to[c * width + i] = i < rows ? from[i * row + c] : 0.f;
}
// (rows, columns) -> (rows, width); consecutive rows of `from` are `row` floats apart.
void widen(const float* from, long rows, long row, long columns, float* to, long width) {
  for (long r = 0; r < rows; r++) {
    std::memcpy(to + r * width, from + r * row, sizeof(float) * columns);
    std::memset(to + r * width + columns, 0, sizeof(float) * (width - columns));
  }
}
// to[c] (+)= sum over pixels of from[pixel][c].
void sum_pixels(const float* from, long pixels, int channels, float* to, int count, bool first) {
  for (int c = 0; c < channels; c += LANES) {
    vec sum[4] = {};
    long p = 0;
    for (; p + 4 <= pixels; p += 4)
      EACH for (int u = 0; u < 4; u++) sum[u] += load(from + (p + u) * channels + c);
    for (; p < pixels; p++) sum[0] += load(from + p * channels + c);
    vec total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    int n = std::min(LANES, count - c);
    if (n <= 0) return;
    store(to + c, first ? total : load(to + c, n) + total, n);
  }
}

}  // namespace

// Norms with what follows them, on rows of pixels of one member: y = relu(a * scale + shift + b).
//
// A norm has its numbers for each channel (batch norm), or for each channel of each sample (group
// norm). Sums run over chunks of pixels, which are still in the cache.
#pragma once
#include <initializer_list>

#include "vectors.hpp"

namespace {

constexpr float EPSILON = 1e-5f;

// Numbers of a norm, each of `channels` floats, for the batch or for one sample.
struct Moments {
  float *mean, *square;  // square: the sum of squared distances from the mean
  float *inverse;        // 1 / standard deviation
  float *scale, *shift;  // y = x * scale + shift
};

// The mean of each channel of a chunk of pixels, and its sum of squared distances from that.
void chunk_moments(const float* x, long pixels, int channels, float* mean, float* square) {
  for (int c = 0; c < channels; c += LANES) {
    const float* at = x + c;
    vec sum[4] = {}, squares[4] = {};
    long p = 0;
    for (; p + 4 <= pixels; p += 4)
      EACH for (int u = 0; u < 4; u++) sum[u] += load(at + (p + u) * channels);
    for (; p < pixels; p++) sum[0] += load(at + p * channels);
    vec middle = ((sum[0] + sum[1]) + (sum[2] + sum[3])) * all(1.f / pixels);
    for (p = 0; p + 4 <= pixels; p += 4)
      EACH for (int u = 0; u < 4; u++) {
        vec d = load(at + (p + u) * channels) - middle;
        squares[u] += d * d;
      }
    for (; p < pixels; p++) {
      vec d = load(at + p * channels) - middle;
      squares[0] += d * d;
    }
    store(mean + c, middle);
    store(square + c, (squares[0] + squares[1]) + (squares[2] + squares[3]));
  }
}

// Adds the moments of a chunk to those of the chunks before it, in `to` (Chan et al. 1979); `before`:
// the pixels of those.
void add_moments(const float* mean, const float* square, long pixels, int channels, Moments to, long before) {
  float share = (float)((double)pixels / (before + pixels));
  float weight = (float)((double)before * pixels / (before + pixels));
  for (int c = 0; c < channels; c += LANES) {
    vec middle = load(mean + c), squares = load(square + c);
    if (before) {
      vec gap = middle - load(to.mean + c);
      middle = load(to.mean + c) + gap * all(share);
      squares = load(to.square + c) + squares + gap * gap * all(weight);
    }
    store(to.mean + c, middle);
    store(to.square + c, squares);
  }
}

// What is padded becomes zero, and so do the numbers that it gives.
void clear_padding(std::initializer_list<float*> of, int count) {
  for (float* one : of)
    for (long c = count; c < padded(count); c++) one[c] = 0.f;
}

// From means and variances to scale and shift; `var` may be `square` of a batch divided by its pixels.
void finish_batch(Moments m, const float* mean, const float* var, const float* gamma,
                         const float* beta, int count) {
  for (int c = 0; c < count; c++) {
    float inverse = 1.f / std::sqrt(var[c] + EPSILON);
    m.mean[c] = mean[c], m.inverse[c] = inverse, m.scale[c] = inverse * gamma[c];
    m.shift[c] = beta[c] - mean[c] * m.scale[c];
  }
  clear_padding({m.mean, m.inverse, m.scale, m.shift}, count);
}

// The same of a sample's groups of channels, whose mean and squares are pooled.
void finish_groups(Moments m, const float* gamma, const float* beta, int count, int groups,
                          long pixels) {
  int size = count / groups;
  for (int first = 0; first < count; first += size) {
    double mean = 0, square = 0;
    for (int c = first; c < first + size; c++) mean += m.mean[c];
    mean /= size;
    for (int c = first; c < first + size; c++) {
      double gap = m.mean[c] - mean;
      square += m.square[c] + pixels * gap * gap;
    }
    float inverse = 1.f / std::sqrt((float)(square / ((double)pixels * size)) + EPSILON);
    for (int c = first; c < first + size; c++) {
      m.mean[c] = (float)mean, m.inverse[c] = inverse, m.scale[c] = inverse * gamma[c];
      m.shift[c] = beta[c] - m.mean[c] * m.scale[c];
    }
  }
  clear_padding({m.mean, m.inverse, m.scale, m.shift}, count);
}

// y = relu(a * scale_a + shift_a + b * scale_b + shift_b); a part that is null is left out.
void combine(const float* a, const Moments* norm_a, const float* b, const Moments* norm_b,
                    bool relu, float* y, long pixels, int channels) {
  for (int c = 0; c < channels; c += LANES) {
    vec scale = norm_a ? load(norm_a->scale + c) : vec{}, shift = norm_a ? load(norm_a->shift + c) : vec{};
    vec other = norm_b ? load(norm_b->scale + c) : vec{};
    if (norm_b) shift += load(norm_b->shift + c);
    for (long p = 0; p < pixels; p++) {
      long i = p * channels + c;
      vec u = load(a + i);
      u = norm_a ? u * scale + shift : u;
      if (b) u += norm_b ? load(b + i) * other : load(b + i);
      if (relu) u = u < vec{} ? vec{} : u;  // keeps NaN
      store(y + i, u);
    }
  }
}

// Sums of a norm's backward pass, each of `channels` floats: of g, and of g (x - mean). Their place
// has the moments of a chunk in a forward pass.
struct Sums {
  float *plain, *centred;
};

// Sets g to 0 where y is, if `y` is there, and sums it if there is a norm.
void mask_and_sum(float* g, const float* y, const float* x, const Moments* norm, Sums sums,
                         long pixels, int channels) {
  for (int c = 0; c < channels; c += LANES) {
    vec mean = norm ? load(norm->mean + c) : vec{}, plain[2] = {}, centred[2] = {};
    auto body = [&](long p, int u) {
      long i = p * channels + c;
      vec q = load(g + i);
      if (y) {
        q = load(y + i) <= vec{} ? vec{} : q;
        store(g + i, q);
      }
      if (norm) {
        plain[u] += q;
        centred[u] += q * (load(x + i) - mean);
      }
    };
    long p = 0;
    for (; p + 2 <= pixels; p += 2) body(p, 0), body(p + 1, 1);
    if (p < pixels) body(p, 0);
    if (!norm) continue;
    store(sums.plain + c, plain[0] + plain[1]);
    store(sums.centred + c, centred[0] + centred[1]);
  }
}
// to += from, of as many channels.
void add_sums(Sums from, Sums to, int channels) {
  for (int c = 0; c < channels; c += LANES) {
    store(to.plain + c, load(to.plain + c) + load(from.plain + c));
    store(to.centred + c, load(to.centred + c) + load(from.centred + c));
  }
}

// Gradient with respect to a norm's input: g * by_grad + x * by_input + constant.
struct Slopes {
  float *by_grad, *by_input, *constant;
};
void slopes_of_batch(Slopes s, Moments m, Sums sums, const float* gamma, int count, long pixels,
                            bool training) {
  for (int c = 0; c < count; c++) {
    float scale = m.inverse[c] * gamma[c], normed = sums.centred[c] * m.inverse[c];
    s.by_grad[c] = scale;
    s.by_input[c] = training ? -scale * m.inverse[c] * normed / pixels : 0.f;
    s.constant[c] = training ? -scale * sums.plain[c] / pixels - s.by_input[c] * m.mean[c] : 0.f;
  }
  clear_padding({s.by_grad, s.by_input, s.constant}, count);
}
void slopes_of_groups(Slopes s, Moments m, Sums sums, const float* gamma, int count, int groups,
                             long pixels) {
  int size = count / groups;
  for (int first = 0; first < count; first += size) {
    double plain = 0, centred = 0, number = (double)pixels * size;
    for (int c = first; c < first + size; c++) {
      plain += (double)gamma[c] * sums.plain[c];
      centred += (double)gamma[c] * sums.centred[c];
    }
    double inverse = m.inverse[first];
    for (int c = first; c < first + size; c++) {
      s.by_grad[c] = m.inverse[c] * gamma[c];
      s.by_input[c] = (float)(-inverse * inverse * inverse * centred / number);
      s.constant[c] = (float)(-inverse * plain / number - (double)s.by_input[c] * m.mean[c]);
    }
  }
  clear_padding({s.by_grad, s.by_input, s.constant}, count);
}
// to (+)= the gradient; without slopes g itself.
void norm_back(const Slopes* s, const float* g, const float* x, float* to, bool add, long pixels,
                      int channels) {
  for (int c = 0; c < channels; c += LANES) {
    vec by_grad = s ? load(s->by_grad + c) : vec{}, by_input = s ? load(s->by_input + c) : vec{};
    vec constant = s ? load(s->constant + c) : vec{};
    for (long p = 0; p < pixels; p++) {
      long i = p * channels + c;
      vec u = load(g + i);
      if (s) u = u * by_grad + load(x + i) * by_input + constant;
      store(to + i, add ? load(to + i) + u : u);
    }
  }
}

}  // namespace

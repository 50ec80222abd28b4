// The forward and the backward pass of one member through a program.
#pragma once
#include "program.hpp"

namespace {

// What a pass reads and writes; tensors of all members, contiguous.
struct Pass {
  int members;
  bool training;            // norms of batches use the batch, and not the statistics
  const float* parameters;  // (K P,) layer-major
  const float* input;       // rows of pixels
  long input_member, input_row;
  const float *mean, *var;        // statistics, layer-major; not read in training
  float *batch_mean, *batch_var;  // of the batch, if wanted
  // of each output: where it is, and the floats from one member, and from one row of pixels, to the next
  float* const* outputs;
  const int64_t *output_member, *output_row;
  // backward
  const float* const* grads;  // of each output, or null
  float* gradient;            // (K P,) layer-major
  float* input_gradient;      // like the input, if wanted
};

struct Member {
  const Program& p;
  const Pass& pass;
  int k;
  float *kept, *work;

  template <class T> T* of(const Block& block, T* flat) const { return block.of(flat, pass.members, k); }
  const float* parameter(const Block& b) const { return b.at < 0 ? nullptr : of(b, pass.parameters); }
  float* value(int v) const { return kept + p.values[v].at; }
  float* grad(int v) const { return work + p.values[v].grad; }
  const float* input() const { return pass.input + k * pass.input_member; }
  Moments moments(const Norm& n, int sample) const {
    long width = padded(n.channels), all = p.rows(n) * width;
    float* at = kept + n.numbers + (n.kind == 1 ? sample * width : 0);
    return {at, at + all, at + 2 * all, at + 3 * all, at + 4 * all};
  }
  Sums sums(const Norm& n, int sample) const {
    long width = padded(n.channels), all = p.rows(n) * width;
    float* at = work + n.sums + (n.kind == 1 ? sample * width : 0);
    return {at, at + all};
  }
  Slopes slopes(const Norm& n, int sample) const {
    long width = padded(n.channels), all = p.rows(n) * width;
    float* at = work + n.sums + 2 * all + (n.kind == 1 ? sample * width : 0);
    return {at, at + all, at + 2 * all};
  }

  // f(first sample, samples) for a chunk at once, or for each of its samples where a norm needs it
  template <class F> static void each(bool by_sample, int first, int n, F f) {
    if (!by_sample) return f(first, n);
    for (int b = first; b < first + n; b++) f(b, 1);
  }

  // ---- forward

  // Columns of the input for a convolution: a row of kernel * kernel * C numbers for each output pixel.
  void columns(const Op& op, int first, int n, float* to) const {
    const Value &in = p.values[0], &out = p.values[op.out];
    int c = op.inputs, padding = op.kernel > op.stride ? op.kernel / 2 : 0;
    long width = padded((long)op.kernel * op.kernel * c);
    for (int b = first; b < first + n; b++)
      for (int y = 0; y < out.h; y++)
        for (int x = 0; x < out.w; x++, to += width) {
          float* at = to;
          for (int dy = 0; dy < op.kernel; dy++)
            for (int dx = 0; dx < op.kernel; dx++, at += c) {
              int iy = y * op.stride - padding + dy, ix = x * op.stride - padding + dx;
              bool inside = iy >= 0 && ix >= 0 && iy < in.h && ix < in.w;
              const float* from = input() + (((long)b * in.h + iy) * in.w + ix) * pass.input_row;
              for (int i = 0; i < c; i++) at[i] = inside ? from[i] : 0.f;
            }
          while (at < to + width) *at++ = 0.f;
        }
  }

  // Weights [tap][c][o] for a forward pass, and [tap][o][c] for a backward pass.
  Weights arranged(const Op& op, bool back) const {
    const float* w = parameter(op.weight);
    float* to = work + op.weights;
    long taps = (long)op.kernel * op.kernel, c = op.inputs, o = op.outputs;
    long width = padded(back ? c : o);
    if (op.linear != back) {  // stored in this order
      long rows = back ? o * taps : c, columns = back ? c : o;
      if (columns == width) return back ? Weights{w, c, taps * c} : Weights{w, 0, o};
      widen(w, rows, columns, columns, to, width);
      return back ? Weights{to, width, taps * width} : Weights{to, 0, width};
    }
    long rows = back ? c : o, columns = back ? o : taps * c;
    transpose(w, rows, columns, columns, to, width);
    return {to, back ? 0 : c * width, width};
  }

  void convolution(const Op& op, Weights w, int first, int n) const {
    const Value &in = p.values[op.in], &out = p.values[op.out];
    const float* x = value(op.in) + first * in.size();
    int inputs = op.inputs;
    if (op.in == 0) {
      columns(op, first, n, work + p.columns);
      x = work + p.columns, inputs *= op.kernel * op.kernel;
      w.tap = 0;
    }
    const float* shift = op.bias.at < 0 ? nullptr : work + op.shift;
    convolve(op.forward[n != op.samples], x, w, shift, false, value(op.out) + first * out.size(), inputs, out.width);
  }

  void combination(const Op& op, int first, int n) const {
    const Value& out = p.values[op.out];
    const Part &a = op.parts[0], &b = op.parts[1];
    each(a.norm.kind == 1 || b.norm.kind == 1, first, n, [&](int s, int m) {
      long at = s * out.size();
      Moments of_a, of_b;
      if (a.norm.there()) of_a = moments(a.norm, s);
      if (b.norm.there()) of_b = moments(b.norm, s);
      combine(value(a.value) + at, a.norm.there() ? &of_a : nullptr,
              b.value >= 0 ? value(b.value) + at : nullptr, b.norm.there() ? &of_b : nullptr, op.relu,
              value(op.out) + at, m * out.pixels(), out.width);
    });
  }

  // f(place in the input, place in the output) for each pixel that a shortcut keeps.
  template <class F> void each_kept(const Op& op, int first, int n, F f) const {
    const Value &in = p.values[op.in], &out = p.values[op.out];
    for (int b = first; b < first + n; b++)
      for (int y = 0; y < out.h; y++)
        for (int x = 0; x < out.w; x++)
          f(b * in.size() + ((long)y * in.w + x) * op.stride * in.width,
            b * out.size() + ((long)y * out.w + x) * out.width);
  }
  void shortcut(const Op& op, int first, int n) const {
    const Value &in = p.values[op.in], &out = p.values[op.out];
    each_kept(op, first, n, [&](long i, long o) {
      std::memset(value(op.out) + o, 0, sizeof(float) * out.width);
      std::memcpy(value(op.out) + o + op.before, value(op.in) + i, sizeof(float) * in.c);
    });
  }

  void entrance(const Op& op, int first, int n) const {
    const Value& in = p.values[0];
    long at = first * in.pixels();
    widen(input() + at * pass.input_row, n * in.pixels(), pass.input_row, in.c, value(op.out) + at * in.width, in.width);
  }

  void mean(const Op& op, int first, int n) const {
    const Value &in = p.values[op.in], &out = p.values[op.out];
    for (int b = first; b < first + n; b++) {
      const float* x = value(op.in) + b * in.size();
      float* to = value(op.out) + b * out.size();
      for (int c = 0; c < in.width; c += LANES) {
        vec sum = {};
        for (long i = 0; i < in.pixels(); i++) sum += load(x + i * in.width + c);
        store(to + c, sum * all(1.f / in.pixels()));
      }
    }
  }

  // Adds a chunk of a value to the moments of the norms that see it.
  void observe(int v, int first, int n) const {
    const Value& x = p.values[v];
    for (int i = x.first_user; i >= 0 && i <= x.last_user; i++)
      for (auto& part : p.ops[i].parts) {
        const Norm& norm = part.norm;
        if (part.value != v || !norm.there() || (norm.kind == 0 && !pass.training)) continue;
        each(norm.kind == 1, first, n, [&](int s, int m) {
          add_moments(value(v) + s * x.size(), m * x.pixels(), x.width, moments(norm, s),
                      norm.kind == 1 ? 0 : s * x.pixels());
        });
      }
  }

  void finish(const Norm& norm, const Value& x) const {
    const float *gamma = parameter(norm.gamma), *beta = parameter(norm.beta);
    if (norm.kind == 1) {
      for (int b = 0; b < p.batch; b++)
        finish_groups(moments(norm, b), gamma, beta, norm.channels, norm.groups, x.pixels());
      return;
    }
    Moments m = moments(norm, 0);
    Block place{norm.statistics, norm.channels};
    if (!pass.training) return finish_batch(m, of(place, pass.mean), of(place, pass.var), gamma, beta, norm.channels);
    float number = (float)(p.batch * x.pixels());
    for (int c = 0; c < norm.channels; c++) m.square[c] /= number;
    if (norm.statistics >= 0 && pass.batch_mean) {
      std::memcpy(of(place, pass.batch_mean), m.mean, sizeof(float) * norm.channels);
      std::memcpy(of(place, pass.batch_var), m.square, sizeof(float) * norm.channels);
    }
    finish_batch(m, m.mean, m.square, gamma, beta, norm.channels);
  }

  void forward() const {
    std::vector<Weights> weights(p.ops.size());
    for (auto& stage : p.stages) {
      int samples = p.ops[stage[0]].samples;
      for (int i : stage) {
        const Op& op = p.ops[i];
        if (op.kind == CONVOLUTION) weights[i] = arranged(op, false);
        if (op.bias.at >= 0) widen(parameter(op.bias), 1, op.outputs, op.outputs, work + op.shift, p.values[op.out].width);
        for (auto& part : op.parts)
          if (part.norm.there()) finish(part.norm, p.values[part.value]);
      }
      for (int first = 0; first < p.batch;) {
        int n = std::min(samples, p.batch - first);
        for (int i : stage) {
          const Op& op = p.ops[i];
          if (op.kind == CONVOLUTION) convolution(op, weights[i], first, n);
          else if (op.kind == COMBINATION) combination(op, first, n);
          else if (op.kind == SHORTCUT) shortcut(op, first, n);
          else if (op.kind == MEAN) mean(op, first, n);
          else entrance(op, first, n);
          observe(op.out, first, n);
        }
        first += n;
      }
    }
    for (size_t i = 0; i < p.outputs.size(); i++) {
      const Value& out = p.values[p.outputs[i]];
      float* to = pass.outputs[i] + k * pass.output_member[i];
      for (long row = 0; row < p.batch * out.pixels(); row++)
        std::memcpy(to + row * pass.output_row[i], value(p.outputs[i]) + row * out.width, sizeof(float) * out.c);
    }
  }

  // ---- backward

  // The norms of a combination: masks the gradient of its output, and sums.
  void mask(const Op& op, int first, int n) const {
    const Value& out = p.values[op.out];
    const Part &a = op.parts[0], &b = op.parts[1];
    const float* y = op.relu ? value(op.out) : nullptr;
    for (auto* part : {&a, &b}) {
      const Norm& norm = part->norm;
      if (part == &b && !norm.there()) continue;
      each(norm.kind == 1, first, n, [&](int s, int m) {
        long at = s * out.size();
        Moments of_part;
        if (norm.there()) of_part = moments(norm, s);
        mask_and_sum(grad(op.out) + at, part == &a && y ? y + at : nullptr, value(part->value) + at,
                     norm.there() ? &of_part : nullptr, norm.there() ? sums(norm, s) : Sums{},
                     m * out.pixels(), out.width);
      });
    }
  }

  // The gradients of a norm's parameters, and its slopes.
  void turn(const Norm& norm, const Value& x) const {
    const float* gamma = parameter(norm.gamma);
    float *of_gamma = of(norm.gamma, pass.gradient), *of_beta = of(norm.beta, pass.gradient);
    for (int b = 0; b < p.rows(norm); b++) {
      Moments m = moments(norm, b);
      Sums sum = sums(norm, b);
      for (int c = 0; c < norm.channels; c++) {
        float normed = sum.centred[c] * m.inverse[c];
        of_gamma[c] = b ? of_gamma[c] + normed : normed;
        of_beta[c] = b ? of_beta[c] + sum.plain[c] : sum.plain[c];
      }
      if (norm.kind == 1) slopes_of_groups(slopes(norm, b), m, sum, gamma, norm.channels, norm.groups, x.pixels());
      else slopes_of_batch(slopes(norm, b), m, sum, gamma, norm.channels, p.batch * x.pixels(), pass.training);
    }
  }

  // The gradient of a part of a combination, written or added to `to`, which is at sample `first`.
  void part_gradient(const Op& op, int side, int first, int n, float* to, bool add) const {
    const Part& part = op.parts[side];
    const Value& out = p.values[op.out];
    each(part.norm.kind == 1, first, n, [&](int s, int m) {
      Slopes own;
      if (part.norm.there()) own = slopes(part.norm, s);
      norm_back(part.norm.there() ? &own : nullptr, grad(op.out) + s * out.size(),
                value(part.value) + s * out.size(), to + (s - first) * out.size(), add, m * out.pixels(), out.width);
    });
  }

  void combination_back(int i, bool* begun) const {
    const Op& op = p.ops[i];
    bool masked = p.values[op.out].last_user >= 0 && masks_early(op.out);
    if (!masked) {
      clear(op);
      for (int first = 0; first < p.batch; first += op.samples) mask(op, first, std::min(op.samples, p.batch - first));
    }
    for (auto& part : op.parts)
      if (part.norm.there()) turn(part.norm, p.values[part.value]);
    for (int side = 0; side < 2; side++) {
      int v = op.parts[side].value;
      if (v < 0 || (p.values[v].maker >= 0 && p.ops[p.values[v].maker].lazy == i)) continue;
      if (!(side == 1 && op.alias)) part_gradient(op, side, 0, p.batch, grad(v), begun[v]);
      begun[v] = true;
    }
  }
  void clear(const Op& op) const {
    for (auto& part : op.parts)
      if (part.norm.there())
        std::memset(sums(part.norm, 0).plain, 0, sizeof(float) * 2 * p.rows(part.norm) * padded(part.norm.channels));
  }
  // Whether the convolution that adds to a value's gradient last masks it too, chunk by chunk.
  bool masks_early(int v) const {
    const Value& x = p.values[v];
    if (x.maker < 0 || p.ops[x.maker].kind != COMBINATION || x.first_user < 0) return false;
    return p.ops[x.first_user].kind == CONVOLUTION;
  }

  void convolution_back(int i, bool* begun) const {
    const Op& op = p.ops[i];
    const Value &in = p.values[op.in], &out = p.values[op.out];
    bool wanted = op.in || pass.input_gradient, early = op.in && masks_early(op.in) && in.first_user == i;
    Weights w{};
    if (wanted) w = arranged(op, true);
    if (early) clear(p.ops[in.maker]);
    float* weight_grad = of(op.weight, pass.gradient);
    long taps = (long)op.kernel * op.kernel;
    for (int first = 0; first < p.batch; first += op.samples) {
      int n = std::min(op.samples, p.batch - first), rest = n != op.samples;
      const float *x = value(op.in) + first * in.size(), *g = grad(op.out) + first * out.size();
      if (op.lazy >= 0) {
        const Op& by = p.ops[op.lazy];
        g = grad(by.out) + first * out.size();
        if (by.parts[op.side].norm.there()) {
          part_gradient(by, op.side, first, n, work + p.chunk, false);
          g = work + p.chunk;
        }
      }
      if (op.bias.at >= 0)
        sum_pixels(g, n * out.pixels(), out.width, of(op.bias, pass.gradient), op.outputs, first == 0);
      int count = op.inputs;
      if (op.in == 0) {
        columns(op, first, n, work + p.columns);
        x = work + p.columns, count = taps * op.inputs;
      }
      if (op.linear) weigh(op.runs[rest], true, x, g, out.width, weight_grad, count, op.outputs, first == 0);
      else weigh(op.runs[rest], false, x, g, out.width, weight_grad, op.outputs, count, first == 0);
      if (!wanted) continue;
      convolve(op.back[rest], g, w, nullptr, begun[op.in], grad(op.in) + first * in.size(), op.outputs, in.width);
      if (early) mask(p.ops[in.maker], first, n);
    }
    begun[op.in] = true;
  }

  void mean_back(const Op& op, bool add) const {
    const Value &in = p.values[op.in], &out = p.values[op.out];
    for (int b = 0; b < p.batch; b++)
      for (int c = 0; c < in.width; c += LANES) {
        vec g = load(grad(op.out) + b * out.size() + c) * all(1.f / in.pixels());
        float* to = grad(op.in) + b * in.size() + c;
        for (long i = 0; i < in.pixels(); i++, to += in.width) store(to, add ? load(to) + g : g);
      }
  }
  void shortcut_back(const Op& op, bool add) const {
    const Value& in = p.values[op.in];
    if (!add) std::memset(grad(op.in), 0, sizeof(float) * p.batch * in.size());
    each_kept(op, 0, p.batch, [&](long i, long o) {
      for (int c = 0; c < in.c; c++) grad(op.in)[i + c] += grad(op.out)[o + op.before + c];
    });
  }

  void backward() const {
    std::vector<char> started(p.values.size());
    bool* begun = (bool*)started.data();
    for (size_t i = 0; i < p.outputs.size(); i++) {
      if (!pass.grads[i]) continue;
      const Value& out = p.values[p.outputs[i]];
      widen(pass.grads[i] + k * pass.output_member[i], p.batch * out.pixels(), pass.output_row[i], out.c,
            grad(p.outputs[i]), out.width);
      begun[p.outputs[i]] = true;
    }
    for (int i = p.ops.size() - 1; i >= 0; i--) {
      const Op& op = p.ops[i];
      if (op.kind == CONVOLUTION) convolution_back(i, begun);
      else if (op.kind == COMBINATION) combination_back(i, begun);
      else {
        if (op.kind == MEAN) mean_back(op, begun[op.in]);
        else if (op.kind == SHORTCUT) shortcut_back(op, begun[op.in]);
        else std::memcpy(grad(0), grad(op.out), sizeof(float) * p.batch * p.values[0].size());
        begun[op.in] = true;
      }
    }
    if (!pass.input_gradient) return;
    const Value& in = p.values[0];
    float* to = pass.input_gradient + k * pass.input_member;
    for (long i = 0; i < p.batch * in.pixels(); i++)
      std::memcpy(to + i * pass.input_row, grad(0) + i * in.width, sizeof(float) * in.c);
  }
};

}  // namespace

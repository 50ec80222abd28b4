// The forward and the backward pass of one member through a program.
//
// All threads of a team run the same pass, each for its share of samples, rows or tiles; they meet
// before one reads what others wrote. What is summed over samples is summed by chunk, in their order.
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
  float *kept, *work;  // of the team
  float* scratch;      // of this thread
  Seat seat;

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
  // Of a chunk of the batch (batch norm), or of a sample (group norm).
  Sums sums(const Norm& n, long at) const {
    long width = padded(n.channels);
    float* plain = work + n.sums + 2 * at * width;
    return {plain, plain + width};
  }
  Slopes slopes(const Norm& n, int sample) const {
    long width = padded(n.channels), all = p.rows(n) * width;
    float* at = work + n.slopes + (n.kind == 1 ? sample * width : 0);
    return {at, at + all, at + 2 * all};
  }

  // f(chunk, first sample, samples) for all chunks of an operation, or for this thread's.
  template <class F> void each_chunk(const Op& op, F f, bool all = false) const {
    long chunks = p.chunks(op), last = all ? chunks : seat.to(chunks);
    for (long chunk = all ? 0 : seat.from(chunks); chunk < last; chunk++)
      f(chunk, (int)chunk * op.samples, std::min(op.samples, p.batch - (int)chunk * op.samples));
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
    float* to = scratch + op.weights;
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
      columns(op, first, n, scratch + p.columns);
      x = scratch + p.columns, inputs *= op.kernel * op.kernel;
      w.tap = 0;
    }
    const float* shift = op.bias.at < 0 ? nullptr : scratch + op.shift;
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

  // The moments of a chunk of a value, for the norms that see it.
  void observe(int v, long chunk, int first, int n) const {
    const Value& x = p.values[v];
    for (int i = x.first_user; i >= 0 && i <= x.last_user; i++)
      for (auto& part : p.ops[i].parts) {
        const Norm& norm = part.norm;
        if (part.value != v || !norm.there() || (norm.kind == 0 && !pass.training)) continue;
        each(norm.kind == 1, first, n, [&](int s, int m) {
          float *mean = sums(norm, chunk).plain, *square = sums(norm, chunk).centred;
          if (norm.kind == 1) mean = moments(norm, s).mean, square = moments(norm, s).square;
          chunk_moments(value(v) + s * x.size(), m * x.pixels(), x.width, mean, square);
        });
      }
  }

  void finish(const Norm& norm, const Value& x) const {
    const float *gamma = parameter(norm.gamma), *beta = parameter(norm.beta);
    if (norm.kind == 1) {
      for (long b = seat.from(p.batch); b < seat.to(p.batch); b++)
        finish_groups(moments(norm, b), gamma, beta, norm.channels, norm.groups, x.pixels());
      return;
    }
    if (!seat.leads()) return;
    Moments m = moments(norm, 0);
    Block place{norm.statistics, norm.channels};
    if (!pass.training) return finish_batch(m, of(place, pass.mean), of(place, pass.var), gamma, beta, norm.channels);
    each_chunk(p.ops[x.maker], [&](long chunk, int first, int n) {
      Sums of_chunk = sums(norm, chunk);
      add_moments(of_chunk.plain, of_chunk.centred, n * x.pixels(), x.width, m, first * x.pixels());
    }, true);
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
      seat.meet();
      for (int i : stage) {
        const Op& op = p.ops[i];
        if (op.kind == CONVOLUTION) weights[i] = arranged(op, false);
        if (op.bias.at >= 0) widen(parameter(op.bias), 1, op.outputs, op.outputs, scratch + op.shift, p.values[op.out].width);
        for (auto& part : op.parts)
          if (part.norm.there()) finish(part.norm, p.values[part.value]);
      }
      seat.meet();
      each_chunk(p.ops[stage[0]], [&](long chunk, int first, int n) {
        for (int i : stage) {
          const Op& op = p.ops[i];
          if (op.kind == CONVOLUTION) convolution(op, weights[i], first, n);
          else if (op.kind == COMBINATION) combination(op, first, n);
          else if (op.kind == SHORTCUT) shortcut(op, first, n);
          else if (op.kind == MEAN) mean(op, first, n);
          else entrance(op, first, n);
          observe(op.out, chunk, first, n);
        }
      });
    }
    seat.meet();
    for (size_t i = 0; i < p.outputs.size(); i++) {
      const Value& out = p.values[p.outputs[i]];
      float* to = pass.outputs[i] + k * pass.output_member[i];
      long rows = p.batch * out.pixels();
      for (long row = seat.from(rows); row < seat.to(rows); row++)
        std::memcpy(to + row * pass.output_row[i], value(p.outputs[i]) + row * out.width, sizeof(float) * out.c);
    }
  }

  // ---- backward

  // The norms of a combination: masks a chunk of the gradient of its output, and sums it.
  void mask(const Op& op, long chunk, int first, int n) const {
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
                     norm.there() ? &of_part : nullptr, norm.there() ? sums(norm, norm.kind == 1 ? s : chunk) : Sums{},
                     m * out.pixels(), out.width);
      });
    }
  }

  // The gradients of the parameters of a combination's norm, and its slopes.
  void turn(const Op& op, const Norm& norm, const Value& x) const {
    const float* gamma = parameter(norm.gamma);
    if (norm.kind == 1)
      for (long b = seat.from(p.batch); b < seat.to(p.batch); b++)
        slopes_of_groups(slopes(norm, b), moments(norm, b), sums(norm, b), gamma, norm.channels, norm.groups, x.pixels());
    if (!seat.leads()) return;
    float *of_gamma = of(norm.gamma, pass.gradient), *of_beta = of(norm.beta, pass.gradient);
    long chunks = norm.kind == 1 ? 1 : p.chunks(masker(p, op));
    for (long chunk = 1; chunk < chunks; chunk++) add_sums(sums(norm, chunk), sums(norm, 0), x.width);
    for (int b = 0; b < p.rows(norm); b++) {
      Moments m = moments(norm, b);
      Sums sum = sums(norm, b);
      for (int c = 0; c < norm.channels; c++) {
        float normed = sum.centred[c] * m.inverse[c];
        of_gamma[c] = b ? of_gamma[c] + normed : normed;
        of_beta[c] = b ? of_beta[c] + sum.plain[c] : sum.plain[c];
      }
      if (norm.kind == 0)
        slopes_of_batch(slopes(norm, b), m, sum, gamma, norm.channels, p.batch * x.pixels(), pass.training);
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
    if (&masker(p, op) == &op) each_chunk(op, [&](long chunk, int first, int n) { mask(op, chunk, first, n); });
    seat.meet();
    for (auto& part : op.parts)
      if (part.norm.there()) turn(op, part.norm, p.values[part.value]);
    seat.meet();
    int first = seat.from(p.batch), n = seat.to(p.batch) - first;
    for (int side = 0; side < 2; side++) {
      int v = op.parts[side].value;
      if (v < 0 || (p.values[v].maker >= 0 && p.ops[p.values[v].maker].lazy == i)) continue;
      if (!(side == 1 && op.alias)) part_gradient(op, side, first, n, grad(v) + first * p.values[v].size(), begun[v]);
      begun[v] = true;
    }
  }

  // Each thread has its tiles of the weights' gradient, for which it needs all chunks.
  void convolution_back(int i, bool* begun) const {
    const Op& op = p.ops[i];
    const Value &in = p.values[op.in], &out = p.values[op.out];
    const Op* masked = op.in && p.ops[in.maker].kind == COMBINATION ? &p.ops[in.maker] : nullptr;
    if (masked && &masker(p, *masked) != &op) masked = nullptr;
    bool wanted = op.in || pass.input_gradient;
    Weights w{};
    if (wanted) w = arranged(op, true);
    float* weight_grad = of(op.weight, pass.gradient);
    long taps = (long)op.kernel * op.kernel;
    each_chunk(op, [&](long chunk, int first, int n) {
      bool rest = n != op.samples, mine = chunk >= seat.from(p.chunks(op)) && chunk < seat.to(p.chunks(op));
      const float *x = value(op.in) + first * in.size(), *g = grad(op.out) + first * out.size();
      if (op.lazy >= 0) {
        const Op& by = p.ops[op.lazy];
        g = grad(by.out) + first * out.size();
        if (by.parts[op.side].norm.there()) {
          part_gradient(by, op.side, first, n, scratch + p.chunk, false);
          g = scratch + p.chunk;
        }
      }
      if (op.bias.at >= 0 && seat.leads())
        sum_pixels(g, n * out.pixels(), out.width, of(op.bias, pass.gradient), op.outputs, chunk == 0);
      int rows = op.linear ? op.inputs : op.outputs, count = op.linear ? op.outputs : op.inputs;
      if (op.in == 0) {
        columns(op, first, n, scratch + p.columns);
        x = scratch + p.columns;
        (op.linear ? rows : count) = taps * op.inputs;
      }
      weigh(op.runs[rest], op.linear, x, g, out.width, weight_grad, rows, count, chunk == 0, seat.place, seat.of);
      if (!wanted || !mine) return;
      convolve(op.back[rest], g, w, nullptr, begun[op.in], grad(op.in) + first * in.size(), op.outputs, in.width);
      if (masked) mask(*masked, chunk, first, n);
    }, true);
    begun[op.in] = true;
  }

  void mean_back(const Op& op, bool add) const {
    const Value &in = p.values[op.in], &out = p.values[op.out];
    for (long b = seat.from(p.batch); b < seat.to(p.batch); b++)
      for (int c = 0; c < in.width; c += LANES) {
        vec g = load(grad(op.out) + b * out.size() + c) * all(1.f / in.pixels());
        float* to = grad(op.in) + b * in.size() + c;
        for (long i = 0; i < in.pixels(); i++, to += in.width) store(to, add ? load(to) + g : g);
      }
  }
  void shortcut_back(const Op& op, bool add) const {
    const Value& in = p.values[op.in];
    int first = seat.from(p.batch), n = seat.to(p.batch) - first;
    if (!add) std::memset(grad(op.in) + first * in.size(), 0, sizeof(float) * n * in.size());
    each_kept(op, first, n, [&](long i, long o) {
      for (int c = 0; c < in.c; c++) grad(op.in)[i + c] += grad(op.out)[o + op.before + c];
    });
  }
  void entrance_back(const Op& op) const {
    long size = p.values[0].size(), first = seat.from(p.batch) * size;
    std::memcpy(grad(0) + first, grad(op.out) + first, sizeof(float) * (seat.to(p.batch) * size - first));
  }

  void backward() const {
    std::vector<char> started(p.values.size());
    bool* begun = (bool*)started.data();
    for (size_t i = 0; i < p.outputs.size(); i++) {
      if (!pass.grads[i]) continue;
      const Value& out = p.values[p.outputs[i]];
      long rows = p.batch * out.pixels(), first = seat.from(rows), of_member = k * pass.output_member[i];
      widen(pass.grads[i] + of_member + first * pass.output_row[i], seat.to(rows) - first, pass.output_row[i], out.c,
            grad(p.outputs[i]) + first * out.width, out.width);
      begun[p.outputs[i]] = true;
    }
    seat.meet();
    for (int i = p.ops.size() - 1; i >= 0; i--) {
      const Op& op = p.ops[i];
      if (op.kind == CONVOLUTION) convolution_back(i, begun);
      else if (op.kind == COMBINATION) combination_back(i, begun);
      else {
        if (op.kind == MEAN) mean_back(op, begun[op.in]);
        else if (op.kind == SHORTCUT) shortcut_back(op, begun[op.in]);
        else entrance_back(op);
        begun[op.in] = true;
      }
      seat.meet();
    }
    if (!pass.input_gradient) return;
    const Value& in = p.values[0];
    float* to = pass.input_gradient + k * pass.input_member;
    long rows = p.batch * in.pixels();
    for (long i = seat.from(rows); i < seat.to(rows); i++)
      std::memcpy(to + i * pass.input_row, grad(0) + i * in.width, sizeof(float) * in.c);
  }
};

}  // namespace

// A program: a network as a flat list of operations, and where their numbers lie.
//
// Letters: K members, B samples, C channels, O outputs. Values lie as (B, H, W, channels), the channels
// padded to whole vectors; value 0 is the input, which the caller owns. Parameters are layer-major:
// member k has the numbers of block (at, size) from K * at + k * size on.
#pragma once
#include "convolution.hpp"
#include "norms.hpp"
#include "team.hpp"

namespace {

constexpr int CHUNK_PIXELS = 800;  // of a value that is computed at once, so that it stays in the cache
constexpr long ALIGNED = 16;
inline long aligned(long n) { return (n + ALIGNED - 1) / ALIGNED * ALIGNED; }

struct Block {
  long at = -1, size = 0;
  template <class T> T* of(T* flat, int members, int k) const { return flat + members * at + k * size; }
};
struct Value {
  int h, w, c, width;   // width: c padded
  long at = 0;          // in the numbers that a pass keeps
  long grad = 0;        // in the workspace of a backward pass
  int maker = -1, first_user = -1, last_user = -1;
  long pixels() const { return (long)h * w; }
  long size() const { return pixels() * width; }
};
enum Kind { CONVOLUTION, COMBINATION, SHORTCUT, MEAN, ENTRANCE };  // ENTRANCE: the input with its channels padded
struct Norm {
  int kind = -1, channels = 0, groups = 0;  // kind: 0 batch, 1 group
  Block gamma, beta;
  long statistics = -1;  // the block of its running statistics
  long numbers = 0;      // Moments, kept by a pass
  long slopes = 0;       // Slopes, in the workspace
  long sums = 0;         // of each chunk, for a batch, or of each sample; in the workspace
  bool there() const { return kind >= 0; }
};
struct Part {  // of a combination
  int value = -1;
  Norm norm;
};
struct Op {
  Kind kind = CONVOLUTION;
  int in = -1, out = -1;
  // convolutions; linear layers have weights (I, O), convolutions (O, kernel, kernel, C)
  Block weight, bias;
  int kernel = 1, stride = 1, inputs = 0, outputs = 0;
  bool linear = false;
  Geometry forward[2], back[2];  // of whole chunks, and of the last one
  Runs runs[2];
  long weights = 0, shift = 0;  // arranged weights and bias, in a thread's scratch memory
  int lazy = -1, side = 0;  // the combination, and its part, whose gradient it takes as it needs it
  // combinations
  Part parts[2];
  bool relu = false, alias = false;  // alias: the second part's gradient is the combination's own
  int before = 0;                    // shortcuts: channels of zeros before
  int samples = 1;                   // of a chunk
};
struct Program {
  int batch;
  std::vector<Value> values;
  std::vector<Op> ops;
  std::vector<std::vector<int>> stages;
  std::vector<int> outputs;
  long kept = 0;       // floats of a member that a forward pass keeps
  long workspace = 0;  // floats of a member that a pass needs
  long scratch = 0;    // floats of a thread
  long columns = 0, chunk = 0;  // places in the scratch memory
  long products = 0;            // of a member's forward pass
  long most_threads = 1;        // that can share a member
  long rows(const Norm& n) const { return n.kind == 1 ? batch : 1; }
  long chunks(const Op& op) const { return (batch + op.samples - 1) / op.samples; }
};

// The caller's list: a row of ROW numbers for each operation, and (h, w, c) for each value.
constexpr int ROW = 32;
Norm norm_of(const int64_t* row) {
  Norm n;
  n.kind = row[0], n.channels = row[1], n.groups = row[2];
  n.gamma = {row[3], row[1]}, n.beta = {row[4], row[1]}, n.statistics = row[5];
  return n;
}
Op op_of(const int64_t* row) {
  Op op;
  op.kind = (Kind)row[0], op.in = row[1], op.out = row[2];
  if (op.kind == CONVOLUTION) {
    op.weight = {row[3], row[4]}, op.bias = {row[5], row[6]};
    op.kernel = row[7], op.stride = row[8], op.inputs = row[9], op.outputs = row[10], op.linear = row[11];
  } else if (op.kind == COMBINATION) {
    op.relu = row[3];
    op.parts[0] = {(int)row[1], norm_of(row + 5)};
    op.parts[1] = {(int)row[4], norm_of(row + 11)};
  } else if (op.kind == SHORTCUT) op.stride = row[3], op.before = row[4];
  return op;
}

// Which values an operation reads.
template <class F> static void each_input(const Op& op, F f) {
  if (op.kind != COMBINATION) return f(op.in);
  for (auto& part : op.parts)
    if (part.value >= 0) f(part.value);
}

// Places of gradients in the workspace, shared by values that are never needed at the same time.
// Time runs backwards: operation i is at time (number of operations - i).
struct Lives {
  struct Slot { long size; int free_at; std::vector<int> values; };
  std::vector<Slot> slots;
  void add(int v, long size, int from, int to) {
    for (auto& slot : slots)
      if (slot.free_at < from && slot.size >= size) {
        slot.free_at = to, slot.values.push_back(v);
        return;
      }
    slots.push_back({size, to, {v}});
  }
};

// Operations of a stage compute the same chunks of samples, one after the other.
void arrange_chunks(Program& p) {
  for (auto& stage : p.stages) {
    long most = 1;
    for (int i : stage) each_input(p.ops[i], [&](int v) { most = std::max(most, p.values[v].pixels()); });
    for (int i : stage) p.ops[i].samples = std::max(1L, std::min((long)p.batch, CHUNK_PIXELS / most));
  }
  for (auto& op : p.ops) {
    if (op.kind != CONVOLUTION) continue;
    Value in = p.values[op.in], out = p.values[op.out];
    int rest = p.batch % op.samples;
    for (int i = 0; i < 2; i++) {
      int n = i ? rest : op.samples;
      if (!n) continue;
      if (op.in == 0) {  // its input is arranged as columns, a row for each output pixel
        int columns = padded((long)op.kernel * op.kernel * op.inputs);
        op.forward[i] = geometry(out.h, out.w, out.h, out.w, 1, 1, false, n, columns, out.width);
        op.runs[i] = runs(out.h, out.w, out.h, out.w, 1, 1, n, columns, out.width);
      } else {
        op.forward[i] = geometry(in.h, in.w, out.h, out.w, op.kernel, op.stride, false, n, in.width, out.width);
        op.runs[i] = runs(in.h, in.w, out.h, out.w, op.kernel, op.stride, n, in.width, out.width);
      }
      op.back[i] = geometry(out.h, out.w, in.h, in.w, op.kernel, op.stride, true, n, out.width, in.width);
    }
  }
}

// A stage ends where a norm needs the whole batch of a value that the stage computes.
void arrange_stages(Program& p) {
  std::vector<bool> open(p.values.size());
  p.stages.emplace_back();
  for (size_t i = 0; i < p.ops.size(); i++) {
    bool waits = false;
    for (auto& part : p.ops[i].parts)
      if (part.value >= 0 && part.norm.there() && open[part.value]) waits = true;
    if (waits) {
      p.stages.emplace_back();
      open.assign(p.values.size(), false);
    }
    p.stages.back().push_back(i);
    open[p.ops[i].out] = true;
  }
}

void arrange_gradients(Program& p) {
  int count = p.ops.size();
  std::vector<int> users(p.values.size());
  for (int i = 0; i < count; i++) {
    p.values[p.ops[i].out].maker = i;
    each_input(p.ops[i], [&](int v) {
      if (p.values[v].first_user < 0) p.values[v].first_user = i;
      p.values[v].last_user = i;
      users[v]++;
    });
  }
  std::vector<bool> output(p.values.size());
  for (int v : p.outputs) output[v] = true;
  std::vector<int> reads_until(count);  // the earliest operation that reads the gradient of its output
  for (int i = 0; i < count; i++) reads_until[i] = i;
  for (int i = 0; i < count; i++) {
    Op& op = p.ops[i];
    if (op.kind != COMBINATION) continue;
    for (int side = 0; side < 2; side++) {
      int v = op.parts[side].value;
      if (v <= 0 || users[v] != 1 || output[v]) continue;
      Op& maker = p.ops[p.values[v].maker];
      if (maker.kind != CONVOLUTION) continue;
      maker.lazy = i, maker.side = side;
      reads_until[i] = std::min(reads_until[i], p.values[v].maker);
    }
  }
  Lives lives;
  auto time = [&](int op) { return count - op; };
  std::vector<int> alias_of(p.values.size(), -1);
  for (int i = count - 1; i >= 0; i--) {  // in the order of the backward pass
    Op& op = p.ops[i];
    if (op.kind != COMBINATION || op.parts[1].value <= 0 || op.parts[1].norm.there()) continue;
    int v = op.parts[1].value;
    if (p.values[v].last_user != i || output[v] || op.parts[0].value == v) continue;
    if (p.ops[p.values[v].maker].lazy == i) continue;
    int maker = p.values[v].maker, next = p.ops[maker].kind == COMBINATION ? maker : -1;
    // next: what writes to the gradient first, another user or, to mask it, its maker
    for (int j = 0; j < i; j++) each_input(p.ops[j], [&](int u) { if (u == v) next = j; });
    if (next >= reads_until[i]) continue;
    op.alias = true, alias_of[v] = op.out;
    reads_until[maker] = std::min(reads_until[maker], reads_until[i]);
  }
  std::vector<int> until(p.values.size(), 1 << 30), from(p.values.size(), -1);
  for (size_t v = 0; v < p.values.size(); v++) {
    int maker = p.values[v].maker;
    if (maker >= 0 && p.ops[maker].lazy >= 0) continue;
    until[v] = maker >= 0 ? std::min(maker, reads_until[maker]) : -1;
    from[v] = output[v] ? count : p.values[v].last_user;
  }
  // a shared gradient lives as long as all that share it
  for (int v = p.values.size() - 1; v >= 0; v--)
    if (alias_of[v] >= 0) {
      int root = alias_of[v];
      while (alias_of[root] >= 0) root = alias_of[root];
      until[root] = std::min(until[root], until[v]);
    }
  std::vector<std::pair<int, int>> order;
  for (size_t v = 0; v < p.values.size(); v++)
    if (from[v] >= 0 && alias_of[v] < 0) order.push_back({time(from[v]), (int)v});
  std::sort(order.begin(), order.end());
  for (auto& [start, v] : order)
    lives.add(v, aligned(p.batch * p.values[v].size()), start, time(until[v]));
  for (auto& slot : lives.slots) {
    for (int v : slot.values) p.values[v].grad = p.workspace;
    p.workspace += slot.size;
  }
  for (size_t v = 0; v < p.values.size(); v++) {
    int root = v;
    while (alias_of[root] >= 0) root = alias_of[root];
    p.values[v].grad = p.values[root].grad;
  }
}

// The operation whose chunks mask the gradient of a combination's output, and sum it: the convolution
// that adds to that gradient last, or else the combination itself.
const Op& masker(const Program& p, const Op& combination) {
  int user = p.values[combination.out].first_user;
  return user >= 0 && p.ops[user].kind == CONVOLUTION ? p.ops[user] : combination;
}

void arrange_memory(Program& p) {
  for (size_t v = 1; v < p.values.size(); v++) {
    p.values[v].at = p.kept;
    p.kept += aligned(p.batch * p.values[v].size());
  }
  long columns = 0, chunk = 0;
  for (auto& op : p.ops) {
    for (auto& part : op.parts)
      if (part.norm.there()) {
        long width = padded(part.norm.channels), all = p.rows(part.norm) * width, chunks = p.batch;
        if (part.norm.kind == 0) chunks = std::max(p.chunks(p.ops[p.values[part.value].maker]), p.chunks(masker(p, op)));
        part.norm.numbers = p.kept, p.kept += aligned(5 * all);
        part.norm.slopes = p.workspace, p.workspace += aligned(3 * all);
        part.norm.sums = p.workspace, p.workspace += aligned(2 * chunks * width);
      }
    if (op.kind != CONVOLUTION) continue;
    long taps = (long)op.kernel * op.kernel;
    op.weights = p.scratch;
    p.scratch += aligned(std::max(taps * op.inputs * padded(op.outputs), taps * op.outputs * padded(op.inputs)));
    op.shift = p.scratch, p.scratch += aligned(p.values[op.out].width);
    chunk = std::max(chunk, op.samples * p.values[op.out].size());
    if (op.in == 0) columns = std::max(columns, op.samples * p.values[op.out].pixels() * padded(taps * op.inputs));
  }
  p.columns = p.scratch, p.scratch += aligned(columns + 2 * LANES);
  p.chunk = p.scratch, p.scratch += aligned(chunk);
  p.kept += ALIGNED, p.workspace += ALIGNED;
}

void arrange_threads(Program& p) {
  long chunks = 1;
  for (auto& op : p.ops) {
    chunks = std::max(chunks, p.chunks(op));
    if (op.kind == CONVOLUTION)
      p.products += p.batch * p.values[op.out].pixels() * op.kernel * op.kernel * op.inputs * op.outputs;
  }
  // Those that share a member also wait for each other at each operation.
  p.most_threads = std::max(1L, std::min(chunks, p.products / (4 * PRODUCTS_A_THREAD)));
}

Program* program_of(const int64_t* values, int value_count, const int64_t* rows, int op_count,
                           const int64_t* outputs, int output_count, int batch) {
  Program* p = new Program();
  p->batch = batch;
  for (int v = 0; v < value_count; v++, values += 3)
    p->values.push_back({(int)values[0], (int)values[1], (int)values[2], (int)padded(values[2])});
  for (int i = 0; i < op_count; i++) p->ops.push_back(op_of(rows + (long)i * ROW));
  p->outputs.assign(outputs, outputs + output_count);
  arrange_stages(*p);
  arrange_chunks(*p);
  arrange_gradients(*p);
  arrange_memory(*p);
  arrange_threads(*p);
  return p;
}

}  // namespace

// The executor's interface, in plain C. Each level of instructions is a library of its own.
#include <memory>

#include "flat.hpp"
#include "passes.hpp"

// Flat tensors are layer-major; `blocks` has the place and the size of each block of a member.
struct SweeperFlat {
  int64_t members, threads, count;
  const int64_t* blocks;
};

namespace {

// Memory that is kept between calls, for as many calls as ever ran at once.
std::mutex guard;
std::vector<std::pair<std::unique_ptr<float[]>, int64_t>> spare;

struct Workspace {
  std::unique_ptr<float[]> memory;
  int64_t size;
  explicit Workspace(int64_t floats) : size(floats + ALIGNED) {
    std::lock_guard<std::mutex> lock(guard);
    for (auto& one : spare)
      if (one.second >= size) {
        memory = std::move(one.first), size = one.second;
        one = std::move(spare.back());
        spare.pop_back();
        return;
      }
    if (!spare.empty()) spare.pop_back();
    memory.reset(new float[size]());
  }
  Workspace(Workspace&&) = default;
  ~Workspace() {
    if (!memory) return;
    std::lock_guard<std::mutex> lock(guard);
    spare.emplace_back(std::move(memory), size);
  }
  float* at() const { return (float*)(((uintptr_t)memory.get() + 63) / 64 * 64); }
};

// f(member) for all members of a flat tensor; a float takes about as long as sixteen products.
template <class F> void each_member(const SweeperFlat& flat, F f) {
  long floats = 0;
  for (int64_t i = 0; i < flat.count; i++) floats += flat.blocks[2 * i + 1];
  Crew(flat.members, flat.threads, 1, 16 * flat.members * floats).each([&](const Turn& turn) { f(turn.member); });
}

// f(turn, the memory of its member, its own memory) for all members of a program; `more` for a member.
template <class F> void each_turn(const Program& p, int64_t members, int64_t threads, long more, F f) {
  Crew crew(members, threads, p.most_threads, members * p.products);
  long size = p.workspace + more;
  Workspace memory(crew.memories() * size + crew.threads * p.scratch);
  float* scratch = memory.at() + crew.memories() * size;
  crew.each([&](const Turn& turn) {
    f(turn, memory.at() + turn.memory * size, scratch + turn.thread * p.scratch);
  });
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {
// What a pass reads and writes; see Pass.
struct SweeperPass {
  int64_t members, training;
  const float *parameters, *input;
  int64_t input_member, input_row;
  const float *mean, *var;
  float *batch_mean, *batch_var;
  float* const* outputs;
  const int64_t *output_member, *output_row;
  const float* const* grads;
  float *gradient, *input_gradient;
};
void* sweeper_plan(const int64_t* values, int64_t value_count, const int64_t* ops, int64_t op_count,
                   const int64_t* outputs, int64_t output_count, int64_t batch) {
  return program_of(values, value_count, ops, op_count, outputs, output_count, batch);
}
void sweeper_discard(void* program) { delete (Program*)program; }
// Floats of a member that a forward pass keeps for the backward pass.
int64_t sweeper_kept(void* program) { return ((Program*)program)->kept; }
// Without `kept` nothing is kept, and a member's numbers lie in the workspace.
void sweeper_forward(void* program, const SweeperPass* s, float* kept, int64_t threads) {
  const Program& p = *(Program*)program;
  Pass pass = {(int)s->members, s->training != 0, s->parameters, s->input, s->input_member,
               s->input_row, s->mean, s->var, s->batch_mean, s->batch_var, s->outputs,
               s->output_member, s->output_row, nullptr, nullptr, nullptr};
  each_turn(p, pass.members, threads, kept ? 0 : p.kept, [&](const Turn& turn, float* work, float* scratch) {
    float* own = kept ? kept + turn.member * p.kept : work + p.workspace;
    Member{p, pass, (int)turn.member, own, work, scratch, turn.seat}.forward();
  });
}
void sweeper_backward(void* program, const SweeperPass* s, float* kept, int64_t threads) {
  const Program& p = *(Program*)program;
  Pass pass = {(int)s->members, s->training != 0, s->parameters, s->input, s->input_member,
               s->input_row, s->mean, s->var, nullptr, nullptr, nullptr, s->output_member,
               s->output_row, s->grads, s->gradient, s->input_gradient};
  each_turn(p, pass.members, threads, 0, [&](const Turn& turn, float* work, float* scratch) {
    Member{p, pass, (int)turn.member, kept + turn.member * p.kept, work, scratch, turn.seat}.backward();
  });
}

void sweeper_norms(const SweeperFlat* f, const float* flat, float* norms) {
  each_member(*f, [&](int64_t k) {
    norms[k] = norm_of(f->blocks, f->count, f->members, k, flat);
  });
}
void sweeper_add_scaled(const SweeperFlat* f, float* to, const float* flat, const float* factors) {
  each_member(*f, [&](int64_t k) {
    each_block(f->blocks, f->count, f->members, k,
               [&](int64_t, int64_t at, int64_t size) { add_scaled(to + at, flat + at, factors[k], size); });
  });
}
// The first `decaying` blocks decay. `numbers` has the numbers of Sgd for each member.
void sweeper_sgd(const SweeperFlat* f, float* data, const float* grad, float* velocity,
                 const float* numbers, int64_t decaying, int64_t nesterov) {
  each_member(*f, [&](int64_t k) {
    const float* n = numbers + 3 * k;
    Sgd step{n[0], n[1], n[2], nesterov != 0};
    each_block(f->blocks, f->count, f->members, k, [&](int64_t i, int64_t at, int64_t size) {
      step(data + at, grad + at, velocity + at, i < decaying, size);
    });
  });
}
void sweeper_adamw(const SweeperFlat* f, float* data, const float* grad, float* mean, float* square,
                   const float* numbers, int64_t decaying) {
  each_member(*f, [&](int64_t k) {
    const float* n = numbers + 5 * k;
    Adam step{n[0], n[1], n[2], n[3], n[4]};
    each_block(f->blocks, f->count, f->members, k, [&](int64_t i, int64_t at, int64_t size) {
      step(data + at, grad + at, mean + at, square + at, i < decaying, size);
    });
  });
}

// A matrix of a member: the floats from one member, one row and one column to the next.
struct SweeperMatrix {
  const float* at;
  int64_t member, row, column;
};
// out (K, n, m) = left (K, n, d) times right (K, d, m).
void sweeper_product(int64_t members, int64_t threads, int64_t n, int64_t d, int64_t m,
                     const SweeperMatrix* left, const SweeperMatrix* right, float* out) {
  long width = padded(m);
  Geometry rows = geometry(1, 1, 1, 1, 1, 1, false, n, d, width);
  Crew crew(members, threads, 1, members * n * d * m);
  long size = aligned(n * d + d * width + n * width);
  Workspace memory(crew.threads * size);
  crew.each([&](const Turn& turn) {
    int64_t k = turn.member;
    float *x = memory.at() + turn.thread * size, *w = x + n * d, *y = w + d * width;
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < d; j++) x[i * d + j] = left->at[k * left->member + i * left->row + j * left->column];
    for (int64_t i = 0; i < d; i++)
      for (int64_t j = 0; j < width; j++)
        w[i * width + j] = j < m ? right->at[k * right->member + i * right->row + j * right->column] : 0.f;
    convolve(rows, x, {w, 0, width}, nullptr, false, y, d, width);
    for (int64_t i = 0; i < n; i++) std::memcpy(out + (k * n + i) * m, y + i * width, sizeof(float) * m);
  });
}
}
#pragma GCC visibility pop

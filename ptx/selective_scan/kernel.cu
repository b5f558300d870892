// The bidirectional selective scan with softplus, skip, SiLU gate and the mean of the directions, and its backward
// pass. The formulas and axes are in mod.rs. There are entries for each state n (8, 16, 32, 64) and for each type T
// (f32, bf16) of xz, u, delta, x_dbl, prompts, out, y and their gradients; parameters, states and sums are f32.
//
// A lane has some states of two channels of one image in one direction, which it carries in registers through all
// tokens: scan.cuh says which for backward, forward.cuh for forward. No thread waits for another's part of the
// sequence.
//
// Forward (forward.cuh). A block has `warps` warps for the walk forth and as many for the walk back over the same
// channels; they go towards each other in tiles of 8 tokens. The grid has blocks of channels along x and images along
// y. For a tile each lane loads a run of channels of one token, 16 bytes at n = 16 in bf16, one tile early, and leaves
// (delta, delta u) and D u in shared memory, where B and C come once for all warps of a direction. The walk adds what
// the states give to D u, in place. The direction that comes to a token first leaves that there, where l fits, else in
// `out`; the second starts from it, and then each lane finishes a run: keeps y for backward, gates. Every 16 tokens the
// states are kept for backward.
// Bound at Vim-S in bf16: special functions and instructions alike. For each token, channel and state sm_90 issues about
// 8.7: 5 are the recurrence itself, 0.75 its loads, sums over lanes and y, 1.3 the staging and finishing of tokens, 0.5
// the polynomial, and 1.1 all else. A multiprocessor issues 4 a cycle: 2.17 cycles for a warp. MUFU takes 1.08 at 16 a
// cycle, 2.16 cycles: one for the decay, and for each token and channel one of softplus and, in one direction, the two
// of the gate. The exponential of one of the 16 states of a lane takes 10 instructions on the multiply-add pipes instead
// of 2: without that MUFU would need 2.3 cycles, with two of them the instructions would. Shared memory has 1.7 passes,
// shuffles included. HBM moves 25.6 bytes for a token and channel, 1.9 cycles. The logarithm of softplus is a polynomial
// in any case, since lg2.approx is not accurate near 1.
//
// Backward (backward.cuh). A block has `warps` warps of one direction; the grid has channels along x, images along y
// and directions along z. It takes chunks of 16 tokens, from the last one on. The inputs of the next chunk are copied
// asynchronously. A walk from the kept state leaves its state every 4 tokens; then for 4 tokens at a time, from the
// last, states and decays are computed again in registers and the gradients walk back through them. For dB and dC,
// lanes leave their parts in shared memory and sum each other's, in 13 instructions for a lane and token where shuffles
// take 28; then the warps of a block are summed, and then, in `sum_bc`, the blocks of channels, always in the same
// order. Gradients of A_log, D and delta_bias have entries of their own.
// Bound at Vim-S in bf16: instructions issued, about 28.5 for each token, channel and state, 7.1 cycles of a
// multiprocessor for a warp. MUFU takes 2.05, 4.1 cycles; HBM moves 45 bytes for a token and channel, 3.3 cycles. Of
// the instructions 3 + 4 compute states again, and 7 are the gradients.
//
// Two blocks share a multiprocessor: 16 warps backward (128 registers), 12 with parameters (168). Forward has 12 (168),
// in two to six blocks: three for each scheduler, which should hide their latency, since a lane has 16 independent states
// and the walk is unrolled over a tile; no GPU has measured it yet. Where blocks of one pair of warps would leave
// multiprocessors idle, a narrow variant puts a channel on four times as many lanes.
#include "backward.cuh"
#include "forward.cuh"

// Most threads of a block, so that two blocks share a multiprocessor.
enum { FORWARD_THREADS = 192 };
constexpr int backward_threads(int n) { return n == 64 ? 128 : n == 32 ? 192 : 256; }
constexpr int trained_threads(int n) { return n >= 32 ? 128 : 192; }

template <typename T, int N, int STATES>
__device__ __forceinline__ void forward(Direction<T> forth, Direction<T> back, Prompts<T> prompts, const T* xz,
                                        T* out, T* y, float* states, u32 sums_in_shared, u32 l, u32 e, u32 r) {
    typedef Forward<T, N, STATES> Walk;
    Walk w;
    const u32 number = warp_number(), chunks = (l + CHUNK - 1) / CHUNK;
    w.warps = blockDim.x / (2 * WARP);
    w.dir = number >= w.warps;
    w.warp = w.dir ? number - w.warps : number;
    w.channel = (blockIdx.x * w.warps + w.warp) * Walk::CHANNELS;
    w.l = l, w.e = e, w.r = r, w.row = blockIdx.y * l;
    w.in = w.dir ? back : forth;
    w.in.u = computed(w.in.u), w.in.delta = computed(w.in.delta), w.in.x_dbl = computed(w.in.x_dbl);
    w.xz = xz, w.prompts = prompts, w.out = out, w.y = y;
    w.sums_in_shared = sums_in_shared != 0;
    // Where backward looks for the states of this lane, in the chunk of its first tile.
    const u32 pair = w.channel / PAIR + w.at.pair, plane = e / PAIR * N;
    const size_t chunk = (static_cast<size_t>(w.dir) * gridDim.y + blockIdx.y) * chunks + (w.dir ? chunks - 1 : 0);
    const bool second = w.second_plane();
    w.keeps = computed(states && pair * PAIR < e);
    w.states = states + (chunk * (e * N) + (second ? plane : 0) + pair * N + w.at.state());
    w.far_plane = second ? 0 - plane : plane;
    w.next_states = computed(w.along(e * N * TILE / CHUNK));
    w.begin(number);
    w.walk_all();
}

template <typename T, int N, bool TRAINED>
__device__ __forceinline__ void backward(Direction<T> forth, Direction<T> back, Prompts<T> prompts, const T* xz,
                                         const T* y, const float* states, const T* dout, T* dxz, T* du_f, T* du_b,
                                         T* ddelta_f, T* ddelta_b, float* dbc, float* da_log, float* dd,
                                         float* dbias, u32 l, u32 e, u32 r) {
    typedef Backward<T, N, TRAINED> Walk;
    Walk w;
    const u32 inputs = Walk::INPUTS + prompts.given();
    w.dir = blockIdx.z;
    w.warp = warp_number(), w.warps = blockDim.x / WARP;
    const u32 first = blockIdx.x * w.warps * Walk::CHANNELS;
    w.busy = min(w.warps, (e - first + Walk::CHANNELS - 1) / Walk::CHANNELS);
    w.channel = first + w.warp * Walk::CHANNELS;
    w.chunks = (l + CHUNK - 1) / CHUNK;
    w.l = l, w.e = e, w.width = r + Walk::COLUMNS;
    w.row = blockIdx.y * l, w.end = computed((w.row + l) * e);
    w.in = w.dir ? back : forth;
    w.xz = xz, w.prompts = prompts, w.y = y, w.dout = dout;
    w.dxz = dxz, w.du = w.dir ? du_b : du_f, w.ddelta = w.dir ? ddelta_b : ddelta_f;
    const size_t image = static_cast<size_t>(w.dir) * gridDim.y + blockIdx.y;
    w.states = states + image * w.chunks * e * N + kept_at(w.at, w.channel);
    w.dbc = dbc + (static_cast<size_t>(blockIdx.x) * 2 + w.dir) * gridDim.y * l * Walk::COLUMNS;

    const u32 lane = w.at.lane, share = lane * Walk::SHARE;
    w.tokens = Walk::FIRST_TOKEN + w.warp * Walk::WARP_WORDS;
    w.staged = Walk::FIRST_TOKEN + w.warps * Walk::WARP_WORDS + w.warp * inputs * Walk::STAGED;
    w.own = computed(w.tokens + 4 * w.at.channel());
    w.kept = computed(w.tokens + CHUNK * Walk::ROW + lane * STATES);
    const u32 parts = w.tokens + CHUNK * Walk::ROW + Walk::KEPT;
    w.sum_from = parts + share / N * Walk::SUMS + share % N;
    w.sum_to = w.tokens + share / Walk::COLUMNS * Walk::ROW + share % Walk::COLUMNS;

    decay_rates(w.at, w.in.a_log, w.channel, e, w.rate);
    float bias[Walk::RUN] = {};
    if (w.channel + w.run() < e) load<Walk::RUN>(w.in.bias + w.channel + w.run(), bias);
    if (w.staged_step() == 0) store<Walk::RUN>(words(w.bias_at()), bias);
#pragma unroll
    for (int i = 0; i < Walk::RUN; i++) w.dd[i] = 0.0f;
    w.skip = w.channel + w.at.channel() < e ? w.in.d[w.channel + w.at.channel()] : 0.0f;
#pragma unroll
    for (int k = 0; k < PAIR; k++) {
#pragma unroll
        for (int j = 0; j < STATES; j++) w.state[k][j] = w.carry[k][j] = w.da[k][j] = 0.0f;
    }
    w.dbias = 0.0f;
    w.walk_all();
    if (TRAINED && w.channel < e) w.store_parameters(da_log, dd, dbias);
}

// Writes dB and dC [blocks 2 rows 2n], summed over the blocks of channels, as the last columns of dx_dbl [rows r+2n],
// with zeros before them. A thread takes one element; directions are along y of the grid.
template <typename T>
__device__ __forceinline__ void sum_bc(const float* __restrict__ dbc, T* dx_dbl, u32 blocks, u32 rows, u32 columns,
                                       u32 r) {
    const u32 width = r + columns, at = blockIdx.x * blockDim.x + threadIdx.x;
    const u32 row = at / width, column = at % width;
    if (row >= rows) return;
    float sum = 0.0f;
    if (column >= r) {
        const u32 one = rows * columns;
        const float* from = dbc + blockIdx.y * one + row * columns + (column - r);
#pragma unroll 4
        for (u32 block = 0; block < blocks; block++) sum += from[static_cast<size_t>(block) * 2 * one];
    }
    put(dx_dbl + at, sum);
}

#define INPUTS(T)                                                                                                    \
    const T *xz, const T *u_f, const T *delta_f, const T *x_dbl_f, const float *a_log_f, const float *d_f,           \
        const float *bias_f, const T *u_b, const T *delta_b, const T *x_dbl_b, const float *a_log_b,                 \
        const float *d_b, const float *bias_b, const T *prompt_f, const T *prompt_b
#define DIRECTIONS                                                                                                   \
    {u_f, delta_f, x_dbl_f, a_log_f, d_f, bias_f}, {u_b, delta_b, x_dbl_b, a_log_b, d_b, bias_b}, {prompt_f, prompt_b}
#define GRADIENTS(T)                                                                                                 \
    const T *y, const float *states, const T *dout, T *dxz, T *du_f, T *du_b, T *ddelta_f, T *ddelta_b, float *dbc

#define FORWARD(T, N, STATES, name)                                                                                  \
    extern "C" __global__ void __launch_bounds__(FORWARD_THREADS, 2) name(INPUTS(T), T* out, T* y, float* states,    \
                                                                          u32 sums_in_shared, u32 l, u32 e, u32 r) { \
        forward<T, N, STATES>(DIRECTIONS, xz, out, y, states, sums_in_shared, l, e, r);                              \
    }

#define ENTRIES(T, N, suffix)                                                                                        \
    FORWARD(T, N, (N == 8 ? 4 : 8), selective_scan_forward_n##N##_##suffix)                                          \
    extern "C" __global__ void __launch_bounds__(backward_threads(N), 2) selective_scan_backward_n##N##_##suffix(    \
        INPUTS(T), GRADIENTS(T), u32 l, u32 e, u32 r) {                                                              \
        backward<T, N, false>(DIRECTIONS, xz, y, states, dout, dxz, du_f, du_b, ddelta_f, ddelta_b, dbc,             \
                              nullptr, nullptr, nullptr, l, e, r);                                                   \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(trained_threads(N), 2) selective_scan_backward_trained_n##N##_##suffix(\
        INPUTS(T), GRADIENTS(T), float* da_log, float* dd, float* dbias, u32 l, u32 e, u32 r) {                      \
        backward<T, N, true>(DIRECTIONS, xz, y, states, dout, dxz, du_f, du_b, ddelta_f, ddelta_b, dbc,              \
                             da_log, dd, dbias, l, e, r);                                                            \
    }

#define TYPE(T, suffix)                                                                                              \
    ENTRIES(T, 8, suffix)                                                                                            \
    ENTRIES(T, 16, suffix)                                                                                           \
    ENTRIES(T, 32, suffix)                                                                                           \
    ENTRIES(T, 64, suffix)                                                                                           \
    FORWARD(T, 16, 2, selective_scan_forward_narrow_n16_##suffix)                                                    \
    extern "C" __global__ void __launch_bounds__(256) selective_scan_sum_bc_##suffix(                                \
        const float* dbc, T* dx_dbl_f, T* dx_dbl_b, u32 blocks, u32 rows, u32 columns, u32 r) {                      \
        sum_bc(dbc, blockIdx.y ? dx_dbl_b : dx_dbl_f, blocks, rows, columns, r);                                     \
    }

TYPE(float, f32)
TYPE(bf16, bf16)

// The bidirectional selective scan with softplus, skip, SiLU gate and the mean of the directions, and its backward
// pass. The formulas and axes are in mod.rs. There are entries for each state n (8, 16, 32, 64) and for each type T
// (f32, bf16) of xz, u, delta, x_dbl, prompts, out, y and their gradients; parameters, states and sums are f32.
//
// A lane carries some states of some channels of one image in one direction in registers through all tokens: scan.cuh
// says which in forward, backward.cuh in backward. No thread waits for another's part of the sequence.
//
// Forward (forward.cuh). A block has `warps` warps for the walk forth and as many for the walk back over the same
// channels; they go towards each other in tiles of 8 tokens. The grid has blocks of channels along x and images along
// y. For a tile each lane loads a run of channels of one token, 16 bytes at n = 16 in bf16, one tile early, and leaves
// (delta, delta u) and D u in shared memory, where B and C come once for all warps of a direction. The walk adds what
// the states give to D u, in place. The direction that comes to a token first leaves that there, where l fits, else in
// `out`; the second starts from it, and then each lane finishes a run: keeps y for backward, gates. Every 16 tokens the
// states are kept for backward.
// Bound at Vim-S in bf16: special functions and instructions alike. For each token, channel and state sm_90 issues
// about 8.7: 5 are the recurrence itself, 0.75 its loads, sums over lanes and y, 1.3 the staging and finishing of
// tokens, 0.5 the polynomial, and 1.1 all else. A multiprocessor issues 4 a cycle: 2.17 cycles for a warp. MUFU takes
// 1.08 at 16 a cycle, 2.16 cycles: one for the decay, and for each token and channel one of softplus and, in one
// direction, the two of the gate. The exponential of one of the 16 states of a lane takes 10 instructions on the
// multiply-add pipes instead of 2: without that MUFU would need 2.3 cycles, with two of them the instructions would.
// Shared memory has 1.7 passes, shuffles included. HBM moves 25.6 bytes for a token and channel, 1.9 cycles. The
// logarithm of softplus is a polynomial in any case, since lg2.approx is not accurate near 1.
//
// Backward (backward.cuh). A lane has four channels x four states. A block has `warps` warps of one direction; the grid
// has channels along x, images along y and directions along z. It takes chunks of 16 tokens, from the last one on. The
// inputs of the next chunk are copied asynchronously, and turned into delta, delta u, dy and slope / delta at its
// start. A walk from the kept state leaves its state every 4 tokens; then for 4 tokens at a time, from the last, states
// and decays are computed again in registers and the gradients walk back through them. Sums over states and sums over
// channels are left in shared memory as each lane's part, and summed there by other lanes, which take four neighbours
// at once: of the gradients of delta and u, which they finish and store, and of dB and dC. Those are summed over the
// warps of a block, and then, in `sum_bc`, over the blocks of channels, always in the same order. Gradients of A_log, D
// and delta_bias have entries of their own, which hold the states and decays of 2 tokens.
// Bound at Vim-S in bf16 (l = 197): instructions issued, about 19.9 for each token, channel and state, counted by hand
// in the SASS of sm_90, 5 cycles of a multiprocessor for a warp. Of them 1.76 x 4 compute states, twice but for the
// last 4 tokens of a chunk, and 7.1 are the gradients; loads of tokens and B and C take 0.8, sums over lanes 1.2, what
// finishes du and d delta 0.6, staging 2.1, and the rest loops, barriers, B and C and the start. MUFU takes 2.1, 4.2
// cycles. HBM moves 51 bytes for a token and channel, 3.7 cycles. Shared memory has 5.5 passes where every access of 16
// bytes by 32 lanes counts as four; two fifths of these are loads in which lanes share addresses.
//
// Backward has eight warps a multiprocessor (255 registers), each with 16 independent states, in one block or several.
// Forward has 12 (168 registers), in two to six blocks: three for each scheduler, which should hide their latency,
// since a lane has 16 independent states and the walk is unrolled over a tile; no GPU has measured it yet. Where blocks
// of one pair of warps would leave multiprocessors idle, a narrow variant puts a channel on four times as many lanes.
// In f32 a lane has half the states for n up to 16, so that a warp's runs of channels fill whole sectors.
#include "backward.cuh"
#include "forward.cuh"

// Most threads of a block: of forward so that two blocks share a multiprocessor.
enum { FORWARD_THREADS = 192 };
constexpr int backward_threads() { return MOST_WARPS * WARP; }
// States that a lane has in the forward walk.
template <typename T>
constexpr int forward_states(int n) { return n > 16 ? 8 : sizeof(T) == 2 ? (n == 8 ? 4 : 8) : n / 4; }

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
    // Where backward looks for the states of this lane's channels, [e n], in the chunk of its first tile.
    const u32 first = w.channel + PAIR * w.at.pair;
    const size_t chunk = (static_cast<size_t>(w.dir) * gridDim.y + blockIdx.y) * chunks + (w.dir ? chunks - 1 : 0);
    w.keeps = computed(states && first < e);
    w.states = states + (chunk * (e * N) + first * N + w.at.state());
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
    w.row = blockIdx.y * l, w.flip = w.dir ? CHUNK - 1 : 0;
    w.in = w.dir ? back : forth;
    w.xz = xz, w.prompts = prompts, w.y = y, w.dout = dout;
    w.dxz = dxz;
    const size_t image = static_cast<size_t>(w.dir) * gridDim.y + blockIdx.y;
    const u32 lane = w.at.lane, part = w.at.part, group = w.at.group;
    const u32 mine = min(w.channel + FOUR * group, e - FOUR);  // the first channel, or one that exists
    w.states = computed(states + image * w.chunks * e * N + mine * N + FOUR * part);
    w.bc = w.in.x_dbl + static_cast<size_t>(w.row) * w.width + r;
    const size_t block = (static_cast<size_t>(blockIdx.x) * 2 + w.dir) * gridDim.y + blockIdx.y;
    w.dbc = computed(dbc + block * l * Walk::COLUMNS);

    enum { WORD = Walk::WORD, VECTOR = FOUR * WORD };
    w.base = byte_of(shared);
    w.first = w.base + Walk::WARPS_AT + w.warp * Walk::WARP_BYTES;
    const u32 inputs_at = w.base + Walk::WARPS_AT + w.warps * Walk::WARP_BYTES;
    w.staged = inputs_at + w.warp * inputs * Walk::INPUT + lane * Walk::RUN * static_cast<u32>(sizeof(T));
    w.four = threadIdx.x * FOUR;
    w.staged_bc = computed(inputs_at + w.warps * inputs * Walk::INPUT + w.four * static_cast<u32>(sizeof(T)));
    w.bias = w.first + Walk::BIAS_AT + w.run() * WORD;
    w.to_stage = w.first + w.staged_step() * Walk::ROW + w.run() * WORD;
    w.own = computed(w.first + group * VECTOR);
    w.own_bc = computed(w.base + part * VECTOR);
    w.kept = computed(w.first + Walk::KEPT_AT + lane * VECTOR);
    w.parts = computed(w.first + Walk::PARTS_AT + part * Walk::PART_ROW + group * VECTOR);
    const u32 c = lane % 8 * Walk::SWEPT, parts_bc = w.first + Walk::PARTS_BC_AT;
    w.swept = computed(w.first + Walk::PARTS_AT + lane / 8 * 2 * Walk::PART_SUM + c * WORD);
    w.swept_of = computed(w.first + lane / 8 * Walk::ROW + c * WORD);
    w.skip = computed(w.first + Walk::SKIP_AT + c * WORD);
    w.part_b = computed(parts_bc + (group * N + part * FOUR) * WORD);
    const u32 share = lane * Walk::SHARE, column = share % Walk::COLUMNS;
    w.sum_from = computed(parts_bc + share / N * Walk::PART_C + share % N * WORD);
    w.sum_to = computed(w.first + share / Walk::COLUMNS * Walk::ROW + column * WORD);

    const u32 end = (w.row + l) * e;
    w.stage_place = computed((w.row + (w.staged_step() ^ w.flip % Walk::PASS)) * e + w.channel + w.run());
    w.stage_end = computed(w.channel + w.run() < e ? end : 0);
    const u32 place = (w.row + (lane / 8 ^ w.flip % SUB)) * e + w.channel + c;
    w.places = computed(w.channel + c < e && place < end ? end - place : 0);
    w.du = computed((w.dir ? du_b : du_f) + place), w.ddelta = computed((w.dir ? ddelta_b : ddelta_f) + place);

#pragma unroll
    for (int k = 0; k < FOUR; k++) {
        float a_log[FOUR];
        load<FOUR>(w.in.a_log + static_cast<size_t>(mine + k) * N + FOUR * part, a_log);
#pragma unroll
        for (int j = 0; j < FOUR; j++) {
            w.rate[k][j] = -LOG2_E * expf(a_log[j]);
            w.state[k][j] = w.carry[k][j] = w.da[k][j] = 0.0f;
        }
    }
    for (u32 c = lane; c < Walk::CHANNELS; c += WARP) {
        const bool is = w.channel + c < e;
        at_byte(w.first + Walk::BIAS_AT)[c] = is ? w.in.bias[w.channel + c] : 0.0f;
        at_byte(w.first + Walk::SKIP_AT)[c] = is ? w.in.d[w.channel + c] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < Walk::RUN; i++) w.dd[i] = 0.0f;
#pragma unroll
    for (int i = 0; i < Walk::SWEPT; i++) w.dbias[i] = 0.0f;
    w.walk_all();
    if (TRAINED && w.channel < e) w.store_parameters(da_log, dd, dbias);
}

// Writes dB and dC [blocks 2 rows 2n], summed over the blocks of channels, as the last columns of dx_dbl [rows r+2n],
// with zeros before them. A thread takes four columns; directions are along y of the grid.
template <typename T>
__device__ __forceinline__ void sum_bc(const float* __restrict__ dbc, T* dx_dbl, u32 blocks, u32 rows, u32 columns,
                                       u32 r) {
    const u32 zeros = (r + FOUR - 1) / FOUR, fours = zeros + columns / FOUR;
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x, row = at / fours, four = at % fours;
    if (row >= rows) return;
    float sum[FOUR] = {};
    if (four >= zeros) {
        const u32 one = rows * columns;
        const float* from = dbc + blockIdx.y * one + row * columns + (four - zeros) * FOUR;
#pragma unroll 2
        for (u32 block = 0; block < blocks; block++, from += 2 * one) {
            float part[FOUR];
            load<FOUR>(from, part);
#pragma unroll
            for (int k = 0; k < FOUR; k++) sum[k] += part[k];
        }
    }
    const u32 column = four < zeros ? four * FOUR : r + (four - zeros) * FOUR;
    T* to = dx_dbl + (row * (r + columns) + column);
    if (r % FOUR == 0) {
        store<FOUR>(to, sum);
    } else {
#pragma unroll
        for (int k = 0; k < FOUR; k++) {
            if (four >= zeros || column + k < r) put(to + k, sum[k]);
        }
    }
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
    FORWARD(T, N, forward_states<T>(N), selective_scan_forward_n##N##_##suffix)                                      \
    extern "C" __global__ void __launch_bounds__(backward_threads(), 1) selective_scan_backward_n##N##_##suffix(     \
        INPUTS(T), GRADIENTS(T), u32 l, u32 e, u32 r) {                                                              \
        backward<T, N, false>(DIRECTIONS, xz, y, states, dout, dxz, du_f, du_b, ddelta_f, ddelta_b, dbc,             \
                              nullptr, nullptr, nullptr, l, e, r);                                                   \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(backward_threads(), 1) selective_scan_backward_trained_n##N##_##suffix(\
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

/* Scalar event-driven simulator of lock-holder preemption: the compiled rival of fastlhp.
 *
 * Model: round robin with pinned vCPUs (spread placement, random queue order, random slice phase, fixed
 * slice), one ticket lock per VM, exponential user and hold times in integer nanoseconds, no kernel
 * phase, no guard, no response, free context switches.  One replication after another on one core.
 * With DIRECTED_YIELD it has one response: a vCPU that has spun for spin_ns yields to the holder of its lock, or the
 * vCPU that was granted it, if that is queued on the same pCPU (and then inherits the rest of the slice), else to the
 * head of the queue.
 *
 * It keeps the few accounts that its answers need, summed over all VMs.  With ALL_METRICS it keeps all that fastlhp
 * does: of each replication, half of the window and VM all counters that this model can move, and both histograms.
 *
 *     cc -O3 -march=native -ffast-math [-DVECTOR_DRAWS] [-DDIRECTED_YIELD] [-DALL_METRICS] scalar.c -lm -o scalar
 *     scalar P M n think_ns hold_ns slice_ns duration_ns warmup_ns replications seed [--no-preemption] [--spin spin_ns]
 *
 * One JSON line on stdout.  An event is the completion of a user or hold phase of non-zero length, or a
 * slice end or yield that switches to another vCPU; `events` covers the warm-up too, all other counts do not.
 *
 * What makes it fast:
 * - The next event of a pCPU is one 64-bit key, (time, hypervisor?, pCPU, phase), so that the smallest key
 *   is the whole answer and the tie rule (guest before hypervisor, then lower pCPU) comes for free.
 * - The smallest key is the root of a winner tree, a heap that keeps all keys in its leaves: an update is log2(P)
 *   conditional moves, so that 64 pCPUs cost little more than 4.  A linear scan, itself a branch-free tournament, is
 *   1.1 to 1.2 times slower at 4 and 8 pCPUs.
 * - An uncontended acquisition and a release without waiters run the same branch-free code: the lock
 *   word is 0 before the one and 1 before the other, and the phase bit of the key is just that number.
 *   Handling contention without branches as well was 1.2 to 1.5 times slower.
 * - Times are charged by adding and subtracting the clock at changes, not by keeping start times.
 * - With VECTOR_DRAWS, draws are made 512 at a time by four interleaved generators, so that the compiler can
 *   call the vector logarithm of libm: 1.6 to 1.9 times as fast, but no longer scalar.
 * - With ALL_METRICS the accounts of a VM lie beside its lock, which an event has at hand anyway.  Nothing is counted
 *   that follows from the rest: ready time from the time that ran, yields without a target from those with one.  The
 *   bin of a histogram is read off the bits of a double.  So all metrics together cost 2 to 7 %.  No faster were
 *   accounts sorted by use into cache lines, times of attempts in the lock's ring, and user and hold times summed as
 *   they are drawn instead of by the clock.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Key: time_ns << 12 | hypervisor << 11 | pcpu << 1 | phase.  Of hypervisor events, the end of a slice has phase 0, that
 * of a spin threshold 1. */
enum { TIME_SHIFT = 12, MAX_PCPUS = 1024 };
#define HYPERVISOR ((int64_t)1 << 11)
#define NEVER INT64_MAX
#define LHP_MARK ((int64_t)1 << 32)
#define LONGEST_PHASE_NS 1073741824.0 /* durations are cut at 2^30 ns, as in fastlhp */

enum { USER, HOLDING, WAITING };
/* State of a VM's lock, hence the account its spinners are charged to. */
enum { CONTENTION, LHP, LWP };

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* xoshiro256+ (Blackman and Vigna 2018), STREAMS generators side by side. */

#ifdef VECTOR_DRAWS
enum { STREAMS = 4, DRAWS = 512 };
#else
enum { STREAMS = 1, DRAWS = 1 };
#endif

typedef uint64_t Words __attribute__((vector_size(8 * STREAMS)));

typedef struct {
    Words s0, s1, s2, s3;
} Xoshiro;

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void xoshiro_seed(Xoshiro *g, uint64_t seed) {
    for (int i = 0; i < STREAMS; i++) {
        g->s0[i] = splitmix64(&seed);
        g->s1[i] = splitmix64(&seed);
        g->s2[i] = splitmix64(&seed);
        g->s3[i] = splitmix64(&seed);
    }
}

static inline void xoshiro_next(Xoshiro *g, Words *result) {
    *result = g->s0 + g->s3;
    Words t = g->s1 << 17;
    g->s2 ^= g->s0;
    g->s3 ^= g->s1;
    g->s1 ^= g->s2;
    g->s0 ^= g->s3;
    g->s2 ^= t;
    g->s3 = (g->s3 << 45) | (g->s3 >> 19);
}

/* Uniform in (0, 1]: the upper 52 bits become the mantissa of a number in [1, 2). */
static inline double uniform(uint64_t bits) {
    bits = (bits >> 12) | 0x3ff0000000000000u;
    double x;
    memcpy(&x, &bits, sizeof x);
    return 2.0 - x;
}

static double uniform_draw(Xoshiro *g) {
    Words bits;
    xoshiro_next(g, &bits);
    return uniform(bits[0]);
}

/* Duration, rounded to nearest, as a key difference.  Adding 1.5 * 2^52 leaves the integer in the low bits
 * of the mantissa; unlike a conversion to int64_t this also vectorises with AVX2. */
static inline int64_t duration_key(double mean_ns, double exponential) {
    double ns = mean_ns * exponential;
    ns = (ns < LONGEST_PHASE_NS ? ns : LONGEST_PHASE_NS) + 0x1.8p52;
    int64_t bits;
    memcpy(&bits, &ns, sizeof bits);
    return (bits & 0xffffffff) << TIME_SHIFT;
}

/* Made of int64_t only. */
typedef struct {
    int64_t drawn, switches; /* phases of non-zero length drawn, context switches: whole replication */
    int64_t acquisitions, contended_acquisitions, preemptions, lhp_events, lhp_acquisitions, lwp_events;
    int64_t lwp_grants, yields;
    int64_t user, hold, spin[3], idle; /* ns */
#ifdef ALL_METRICS
    int64_t yields_to_holder, holder_off_spells;
    int64_t ready, wait, wait_max, holder_off, holder_off_max; /* ns */
#endif
} Counts;

static void add_each(Counts *sum, const Counts *n) {
    /* Counts is made of int64_t only. */
    for (size_t i = 0; i < sizeof *sum / sizeof(int64_t); i++) ((int64_t *)sum)[i] += ((const int64_t *)n)[i];
}

/* What guests count without the hypervisor.  held: the sum of `now` over changes from hold to user less that over
 * changes from user to hold. */
typedef struct {
    int64_t acquisitions, held;
} Tally;

typedef struct {
    int64_t word;     /* holder + waiters; LHP_MARK is added once the current acquisition was preempted */
    uint32_t head;    /* position of the first waiter in the ring */
    int32_t spinners; /* waiters that run */
    int32_t state;
    int32_t granted;  /* the vCPU that was granted the lock while off CPU, or -1 */
#ifdef DIRECTED_YIELD
    int32_t owner;    /* the vCPU that acquired or was granted the lock last */
#endif
    int32_t *ring;
#ifdef ALL_METRICS
    Tally tally;
    int64_t off_since; /* when its holder was preempted */
    Counts n;          /* of the VM; drawn and idle are not used */
#endif
} Lock;

#ifdef ALL_METRICS
enum { BINS = 704 }; /* 16 to an octave from 1 ns; the first one also has 0, the last one is open */
typedef struct {
    int64_t wait[BINS], holder_off[BINS];
} Histograms;
#endif

typedef struct {
    int pcpus, vms, siblings, vcpus, leaves;
    double mean_ns[2]; /* of the phase that *follows* USER and HOLDING */
    int64_t slice_key;
    uint32_t ring_mask;
    /* per pCPU */
    int64_t *tree;      /* winner tree: tree[1] is the smallest key, tree[leaves + p] the key of pCPU p */
    int64_t *phase_end; /* key of the phase end, NEVER while spinning or idle */
    int64_t *slice_end;
#ifdef DIRECTED_YIELD
    int64_t spin_key, *spin_end; /* threshold as a key difference; key of its end, NEVER unless spinning */
#endif
    Lock **lock; /* of the running vCPU's VM */
    int32_t *running, *queue_start, *queue_length, *queue_at, *queue;
    /* per vCPU */
    int64_t *residual; /* phase end - now while off CPU, NEVER while WAITING */
    int32_t *pcpu_of;
    Lock *locks;
#ifdef ALL_METRICS
    int64_t *attempt; /* when it began to wait */
    /* of all replications */
    Histograms *histograms, in_warmups, in_windows;
    Counts *records, *record; /* of each replication, half and VM; the next one */
#endif
    Counts n;
    Xoshiro generator;
    int next_draw;
    int64_t draws[2][DRAWS]; /* [phase that ends][k]: the k-th variate as a hold or as a user time */
} Sim;

#ifdef VECTOR_DRAWS
static __attribute__((noinline)) void refill(Sim *s) {
    uint64_t bits[DRAWS];
    double e[DRAWS];
    Xoshiro g = s->generator;
    for (int k = 0; k < DRAWS; k += STREAMS) {
        Words w;
        xoshiro_next(&g, &w);
        memcpy(bits + k, &w, sizeof w);
    }
    s->generator = g;
    for (int k = 0; k < DRAWS; k++) e[k] = -log(uniform(bits[k]));
    for (int phase = USER; phase <= HOLDING; phase++) {
        double mean_ns = s->mean_ns[phase];
        for (int k = 0; k < DRAWS; k++) s->draws[phase][k] = duration_key(mean_ns, e[k]);
    }
    s->next_draw = 0;
}
#endif

/* Length of the phase that follows `ended`. */
static inline int64_t draw(Sim *s, int64_t ended) {
#ifdef VECTOR_DRAWS
    if (__builtin_expect(s->next_draw == DRAWS, 0)) refill(s);
    return s->draws[ended][s->next_draw++];
#else
    Words w;
    xoshiro_next(&s->generator, &w);
    return duration_key(s->mean_ns[ended], -log(uniform(w[0])));
#endif
}

static inline void set_key(Sim *s, int p, int64_t key) {
    int64_t *tree = s->tree;
    uint32_t i = (uint32_t)(s->leaves + p);
    tree[i] = key;
    while (i > 1) {
        key = min64(key, tree[i ^ 1]);
        i >>= 1;
        tree[i] = key;
    }
}

static inline int64_t next_key(const Sim *s, int p) {
    int64_t key = min64(s->phase_end[p], s->slice_end[p]);
#ifdef DIRECTED_YIELD
    key = min64(key, s->spin_end[p]);
#endif
    return key;
}

/* vCPU v owns the lock from now on; only the directed yield asks who does. */
static inline void set_owner(Lock *lock, int v) {
#ifdef DIRECTED_YIELD
    lock->owner = v;
#else
    (void)lock, (void)v;
#endif
}

/* The vCPU of p starts to spin at `base`, a time as a key; or it stops. */
static inline void start_spin(Sim *s, int p, int64_t base) {
#ifdef DIRECTED_YIELD
    s->spin_end[p] = base + s->spin_key + HYPERVISOR + (p << 1) + 1;
#else
    (void)s, (void)p, (void)base;
#endif
}

static inline void stop_spin(Sim *s, int p) {
#ifdef DIRECTED_YIELD
    s->spin_end[p] = NEVER;
#else
    (void)s, (void)p;
#endif
}

/* Where a VM has its counts: all VMs share theirs, but with ALL_METRICS each has its own. Further:
 * start_wait, end_wait: vCPU v begins to wait for the lock of its VM, or acquires it.
 * holder_leaves, holder_returns: the holder of a lock is preempted, or runs again.
 * find_holder: a directed yield has the holder for its target.
 * clear_counts: the counts of a VM start anew. */
#ifdef ALL_METRICS
static inline Counts *counts_of(Sim *s, Lock *lock) {
    (void)s;
    return &lock->n;
}

static inline Tally *tally_of(Tally *all, Lock *lock) {
    (void)all;
    return &lock->tally;
}

/* The exponent of a double, and the first four bits of its mantissa. */
static inline int64_t bin_of(int64_t ns) {
    double x = (double)ns;
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return min64(max64((bits >> 48) - (1023 << 4), 0), BINS - 1);
}

static inline void start_wait(Sim *s, int v, int64_t now) { s->attempt[v] = now; }

static inline void end_wait(Sim *s, Lock *lock, int v, int64_t now) {
    int64_t wait = now - s->attempt[v];
    lock->n.contended_acquisitions++;
    lock->n.wait += wait;
    lock->n.wait_max = max64(lock->n.wait_max, wait);
    s->histograms->wait[bin_of(wait)]++;
}

static inline void holder_leaves(Lock *lock, int64_t now) { lock->off_since = now; }

static inline void holder_returns(Sim *s, Lock *lock, int64_t now) {
    int64_t off = now - lock->off_since;
    lock->n.holder_off_spells++;
    lock->n.holder_off += off;
    lock->n.holder_off_max = max64(lock->n.holder_off_max, off);
    s->histograms->holder_off[bin_of(off)]++;
}

static inline void find_holder(Lock *lock) { lock->n.yields_to_holder++; }

static inline void clear_counts(Lock *lock) {
    lock->tally = (Tally){0};
    lock->n = (Counts){0};
}
#else
static inline Counts *counts_of(Sim *s, Lock *lock) {
    (void)lock;
    return &s->n;
}

static inline Tally *tally_of(Tally *all, Lock *lock) {
    (void)lock;
    return all;
}

static inline void start_wait(Sim *s, int v, int64_t now) { (void)s, (void)v, (void)now; }

static inline void end_wait(Sim *s, Lock *lock, int v, int64_t now) {
    (void)lock, (void)v, (void)now;
    s->n.contended_acquisitions++;
}

static inline void holder_leaves(Lock *lock, int64_t now) { (void)lock, (void)now; }

static inline void holder_returns(Sim *s, Lock *lock, int64_t now) { (void)s, (void)lock, (void)now; }

static inline void find_holder(Lock *lock) { (void)lock; }

static inline void clear_counts(Lock *lock) { (void)lock; }
#endif

static inline void change_lock_state(Sim *s, Lock *lock, int state, int64_t now) {
    Counts *n = counts_of(s, lock);
    int64_t spun = lock->spinners * now;
    n->spin[lock->state] += spun;
    n->spin[state] -= spun;
    lock->state = state;
}

/* The vCPU that is next in the queue of p runs.  Nobody blocks, so the FIFO run queue keeps its cyclic order: rotating
 * it is moving an index. */
static inline void run_next(Sim *s, int p, int64_t now) {
    int64_t base = now << TIME_SHIFT;
    int at = s->queue_at[p] + 1;
    if (at == s->queue_length[p]) at = 0;
    s->queue_at[p] = at;
    int v = s->queue[s->queue_start[p] + at];
    Lock *lock = &s->locks[v / s->siblings];
    Counts *n = counts_of(s, lock);
    n->switches++;
    s->running[p] = v;
    s->lock[p] = lock;
    stop_spin(s, p);
    if (s->residual[v] != NEVER) {
        s->phase_end[p] = base + s->residual[v];
        if (s->phase_end[p] & HOLDING) {
            n->hold -= now;
            holder_returns(s, lock, now);
            change_lock_state(s, lock, CONTENTION, now);
        } else {
            n->user -= now;
        }
    } else if (lock->granted == v) {
        int64_t length = draw(s, USER);
        s->n.drawn += length != 0;
        s->phase_end[p] = base + length + (p << 1) + HOLDING;
        lock->granted = -1;
        n->acquisitions++;
        end_wait(s, lock, v, now);
        n->hold -= now;
        change_lock_state(s, lock, CONTENTION, now);
    } else {
        s->phase_end[p] = NEVER;
        start_spin(s, p, base);
        n->spin[lock->state] -= now;
        lock->spinners++;
    }
}

/* A slice end at `key`: the running vCPU goes to the tail, the next one gets a full slice. */
static __attribute__((noinline)) void end_slice(Sim *s, int64_t key) {
    int p = (key >> 1) & (MAX_PCPUS - 1);
    int64_t now = key >> TIME_SHIFT, base = now << TIME_SHIFT;
    s->slice_end[p] = key + s->slice_key;
    if (s->queue_length[p] == 1) return;

    int v = s->running[p];
    Lock *lock = s->lock[p];
    Counts *n = counts_of(s, lock);
    n->preemptions++;
    if (s->phase_end[p] == NEVER) {
        s->residual[v] = NEVER;
        n->spin[lock->state] += now;
        lock->spinners--;
        n->lwp_events++;
    } else {
        s->residual[v] = s->phase_end[p] - base;
        if (s->phase_end[p] & HOLDING) {
            n->hold += now;
            n->lhp_events++;
            holder_leaves(lock, now);
            if (lock->word < LHP_MARK) {
                lock->word += LHP_MARK;
                n->lhp_acquisitions++;
            }
            change_lock_state(s, lock, LHP, now);
        } else {
            n->user += now;
        }
    }
    run_next(s, p, now);
}

#ifdef DIRECTED_YIELD
/* The vCPU of p has spun for the threshold at `key`: it yields. */
static __attribute__((noinline)) void end_spin(Sim *s, int64_t key) {
    int p = (key >> 1) & (MAX_PCPUS - 1), length = s->queue_length[p];
    int64_t now = key >> TIME_SHIFT;
    Lock *lock = s->lock[p];
    Counts *n = counts_of(s, lock);
    n->yields++;
    if (length == 1) {
        start_spin(s, p, now << TIME_SHIFT);
        return;
    }
    int32_t *queue = s->queue + s->queue_start[p];
    int at = s->queue_at[p], w = lock->owner;
    s->residual[s->running[p]] = NEVER;
    n->spin[lock->state] += now;
    lock->spinners--;
    if (s->pcpu_of[w] == p) {
        find_holder(lock);
        /* Out of its place to the front, past those between. */
        int i = at, moved = w;
        do {
            if (++i == length) i = 0;
            int32_t other = queue[i];
            queue[i] = moved;
            moved = other;
        } while (moved != w);
    } else {
        s->slice_end[p] = (now << TIME_SHIFT) + s->slice_key + HYPERVISOR + (p << 1);
    }
    run_next(s, p, now);
}
#endif

static void run_until(Sim *s, int64_t until_ns) {
    const int64_t limit = until_ns << TIME_SHIFT;
    int64_t drawn = 0;
    Tally all = {0};
    for (;;) {
        int64_t key = s->tree[1];
        if (key >= limit) break;
        int p = (key >> 1) & (MAX_PCPUS - 1);
        if (__builtin_expect(key & HYPERVISOR, 0)) {
#ifdef DIRECTED_YIELD
            if (key & 1)
                end_spin(s, key);
            else
#endif
                end_slice(s, key);
            set_key(s, p, next_key(s, p));
            continue;
        }
        int64_t phase = key & 1, now = key >> TIME_SHIFT;
        Lock *lock = s->lock[p];
        Tally *tally = tally_of(&all, lock);
        if (lock->word == phase) {
            int64_t length = draw(s, phase);
            drawn += length != 0;
            lock->word = phase ^ 1;
            set_owner(lock, s->running[p]); /* at a release nobody looks at it */
            tally->acquisitions += phase ^ 1;
            tally->held += phase ? now : -now;
            key = (key ^ 1) + length;
            s->phase_end[p] = key;
            set_key(s, p, min64(key, s->slice_end[p]));
        } else if (phase == USER) {
            uint32_t waiters = (uint32_t)lock->word - 1;
            lock->ring[(lock->head + waiters) & s->ring_mask] = s->running[p];
            lock->word++;
            lock->spinners++;
            counts_of(s, lock)->user += now;
            counts_of(s, lock)->spin[lock->state] -= now;
            start_wait(s, s->running[p], now);
            s->phase_end[p] = NEVER;
            start_spin(s, p, now << TIME_SHIFT);
            set_key(s, p, next_key(s, p));
        } else {
            int64_t length = draw(s, HOLDING);
            drawn += length != 0;
            tally->held += now;
            key = (key ^ 1) + length;
            s->phase_end[p] = key;
            set_key(s, p, min64(key, s->slice_end[p]));
            lock->word = (lock->word & (LHP_MARK - 1)) - 1;
            if (lock->word == 0) continue;
            int w = lock->ring[lock->head++ & s->ring_mask];
            int q = s->pcpu_of[w];
            set_owner(lock, w);
            if (s->running[q] == w) {
                length = draw(s, USER);
                drawn += length != 0;
                lock->spinners--;
                end_wait(s, lock, w, now);
                tally->acquisitions++;
                counts_of(s, lock)->spin[CONTENTION] += now;
                counts_of(s, lock)->hold -= now;
                key = (now << TIME_SHIFT) + length + (q << 1) + HOLDING;
                s->phase_end[q] = key;
                stop_spin(s, q);
                set_key(s, q, min64(key, s->slice_end[q]));
            } else {
                lock->granted = w;
                counts_of(s, lock)->lwp_grants++;
                change_lock_state(s, lock, LWP, now);
            }
        }
    }
    s->n.drawn += drawn;
    s->n.acquisitions += all.acquisitions;
    s->n.hold += all.held;
    s->n.user -= all.held;
}

/* Charge `sign * now` to what each pCPU is doing: -1 opens the accounts at `now`, +1 closes them. */
static void charge_all(Sim *s, int64_t now, int sign) {
    for (int p = 0; p < s->pcpus; p++) {
        if (s->queue_length[p] == 0)
            s->n.idle += sign * now;
        else if (s->phase_end[p] == NEVER)
            counts_of(s, s->lock[p])->spin[s->lock[p]->state] += sign * now;
        else if (s->phase_end[p] & HOLDING)
            counts_of(s, s->lock[p])->hold += sign * now;
        else
            counts_of(s, s->lock[p])->user += sign * now;
    }
}

static void start(Sim *s) {
    memset(&s->n, 0, sizeof s->n);
    for (int m = 0; m < s->vms; m++) {
        Lock *lock = &s->locks[m];
        clear_counts(lock);
        lock->word = 0;
        lock->head = 0;
        lock->spinners = 0;
        lock->state = CONTENTION;
        lock->granted = -1;
    }
    for (int p = 0; p < s->pcpus; p++) {
        int32_t *queue = s->queue + s->queue_start[p];
        int length = s->queue_length[p];
        s->phase_end[p] = s->slice_end[p] = NEVER;
        stop_spin(s, p);
        if (length == 0) continue;
        for (int i = length - 1; i > 0; i--) {
            int j = (int)ceil(uniform_draw(&s->generator) * (i + 1)) - 1;
            int32_t v = queue[i];
            queue[i] = queue[j];
            queue[j] = v;
        }
        for (int i = 0; i < length; i++) {
            int64_t time = draw(s, HOLDING);
            s->n.drawn += time != 0;
            s->residual[queue[i]] = time + (p << 1) + USER;
        }
        s->queue_at[p] = 0;
        s->running[p] = queue[0];
        s->lock[p] = &s->locks[queue[0] / s->siblings];
        s->phase_end[p] = s->residual[queue[0]];
        if (s->slice_key != NEVER) {
            double u = uniform_draw(&s->generator);
            int64_t first = (int64_t)ceil(u * (double)(s->slice_key >> TIME_SHIFT));
            s->slice_end[p] = (first << TIME_SHIFT) + HYPERVISOR + (p << 1);
        }
    }
    for (int p = 0; p < s->pcpus; p++) set_key(s, p, min64(s->phase_end[p], s->slice_end[p]));
}

/* Phases that were drawn and have not ended. */
static int64_t phases_in_progress(const Sim *s) {
    int64_t count = 0;
    for (int p = 0; p < s->pcpus; p++)
        for (int i = 0; i < s->queue_length[p]; i++)
            if (i == s->queue_at[p])
                count += s->phase_end[p] != NEVER;
            else
                count += s->residual[s->queue[s->queue_start[p] + i]] != NEVER;
    return count;
}

#ifdef ALL_METRICS
/* Sums, but of longest times the longest. */
static void add_counts(Counts *sum, const Counts *n) {
    int64_t wait_max = max64(sum->wait_max, n->wait_max);
    int64_t holder_off_max = max64(sum->holder_off_max, n->holder_off_max);
    add_each(sum, n);
    sum->wait_max = wait_max;
    sum->holder_off_max = holder_off_max;
}

/* The accounts of a VM are closed after `length` ns and kept. */
static void keep_counts(Sim *s, Lock *lock, int64_t length) {
    Counts *n = &lock->n;
    n->acquisitions += lock->tally.acquisitions;
    n->hold += lock->tally.held;
    n->user -= lock->tally.held;
    n->ready = s->siblings * length - n->user - n->hold - n->spin[CONTENTION] - n->spin[LHP] - n->spin[LWP];
    add_counts(&s->n, n);
    *s->record++ = *n;
    clear_counts(lock);
}

static void run_half(Sim *s, int64_t from_ns, int64_t until_ns) {
    charge_all(s, from_ns, -1);
    run_until(s, until_ns);
    charge_all(s, until_ns, +1);
    for (int m = 0; m < s->vms; m++) keep_counts(s, &s->locks[m], until_ns - from_ns);
}

/* Of the warm-up only events count. */
static void run_window(Sim *s, int64_t warmup_ns, int64_t duration_ns) {
    s->histograms = &s->in_warmups;
    run_until(s, warmup_ns);
    s->histograms = &s->in_windows;
    for (int m = 0; m < s->vms; m++) {
        s->n.switches += s->locks[m].n.switches;
        clear_counts(&s->locks[m]);
    }
    int64_t middle_ns = warmup_ns + duration_ns / 2;
    run_half(s, warmup_ns, middle_ns);
    run_half(s, middle_ns, warmup_ns + duration_ns);
}
#else
/* Of the warm-up only events count. */
static void run_window(Sim *s, int64_t warmup_ns, int64_t duration_ns) {
    run_until(s, warmup_ns);
    Counts *n = &s->n;
    int64_t drawn = n->drawn, switches = n->switches;
    memset(n, 0, sizeof *n);
    n->drawn = drawn;
    n->switches = switches;
    charge_all(s, warmup_ns, -1);
    run_until(s, warmup_ns + duration_ns);
    charge_all(s, warmup_ns + duration_ns, +1);
}
#endif

/* Mean and standard error, one value at a time (Welford). */
typedef struct {
    int64_t count;
    double mean, m2;
} Moments;

static void add_value(Moments *a, double x) {
    double d = x - a->mean;
    a->mean += d / (double)++a->count;
    a->m2 += d * (x - a->mean);
}

static void print_count(const char *name, int64_t count) { printf(", \"%s\": %lld", name, (long long)count); }

static void print_number(const char *name, double x) { printf(", \"%s\": %.17g", name, x); }

static void print_moments(const char *name, const Moments *a) {
    double c = (double)a->count;
    if (a->count > 0) print_number(name, a->mean);
    if (a->count > 1) {
        printf(", \"%s_standard_error\": %.17g", name, sqrt(a->m2 / (c - 1) / c));
    }
}

#ifdef ALL_METRICS
static void print_histogram(const char *name, const int64_t *counts) {
    printf(", \"%s\": [%lld", name, (long long)counts[0]);
    for (int i = 1; i < BINS; i++) printf(", %lld", (long long)counts[i]);
    printf("]");
}

/* Sum over replications of what some VMs had in the first half of the window, or in both. */
static Counts sum_over(const Sim *s, int64_t replications, int halves, int first_vm, int vms) {
    Counts sum = {0};
    for (int64_t r = 0; r < replications; r++) {
        Counts n = {0};
        for (int half = 0; half < halves; half++)
            for (int m = first_vm; m < first_vm + vms; m++) add_counts(&n, &s->records[(2 * r + half) * s->vms + m]);
        add_each(&sum, &n);
    }
    return sum;
}

/* By the names that fastlhp has for them; what is missing is 0 in this model. */
static void print_counts(Counts n, int64_t replications) {
    printf("{\"acquisitions\": %lld", (long long)n.acquisitions);
    print_count("contended_acquisitions", n.contended_acquisitions);
    print_count("wait_ns", n.wait);
    print_number("wait_max_ns", (double)n.wait_max / (double)replications);
    print_count("lhp_events", n.lhp_events);
    print_count("lhp_acquisitions", n.lhp_acquisitions);
    print_count("lwp_events", n.lwp_events);
    print_count("lwp_grants", n.lwp_grants);
    print_count("preemptions", n.preemptions);
    print_count("context_switches", n.switches);
    print_count("yields", n.yields);
    print_count("directed_yields_holder", n.yields_to_holder);
    print_count("directed_yields_none", n.yields - n.yields_to_holder);
    print_count("user_ns", n.user);
    print_count("hold_ns", n.hold);
    print_count("spin_ns", n.spin[CONTENTION] + n.spin[LHP] + n.spin[LWP]);
    print_count("spin_lhp_ns", n.spin[LHP]);
    print_count("spin_lwp_ns", n.spin[LWP]);
    print_count("ready_ns", n.ready);
    print_count("holder_off_ns", n.holder_off);
    print_count("holder_off_spells", n.holder_off_spells);
    print_number("holder_off_max_ns", (double)n.holder_off_max / (double)replications);
    printf("}");
}

/* Sums over replications, but of a longest time the mean: of all VMs in the window and in its first half, and of each
 * VM. */
static void print_all_metrics(const Sim *s, int64_t replications) {
    print_count("fragmentation_ns", 0); /* pCPUs idle only where vCPUs are fewer, and then nobody queues */
    print_histogram("wait_histogram", s->in_windows.wait);
    print_histogram("holder_off_histogram", s->in_windows.holder_off);
    printf(", \"window\": ");
    print_counts(sum_over(s, replications, 2, 0, s->vms), replications);
    printf(", \"first_half\": ");
    print_counts(sum_over(s, replications, 1, 0, s->vms), replications);
    for (int m = 0; m < s->vms; m++) {
        fputs(m ? ", " : ", \"by_vm\": [", stdout);
        print_counts(sum_over(s, replications, 2, m, 1), replications);
    }
    printf("]");
}
#endif

static void *allocate(size_t count, size_t size) {
    size_t bytes = (count * size + 63) / 64 * 64;
    void *memory = aligned_alloc(64, bytes ? bytes : 64);
    if (!memory) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    memset(memory, 0, bytes);
    return memory;
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static Sim *build(int pcpus, int vms, int siblings, double think_ns, double hold_ns, int64_t slice_ns) {
    Sim *s = allocate(1, sizeof *s);
    s->pcpus = pcpus;
    s->vms = vms;
    s->siblings = siblings;
    s->vcpus = vms * siblings;
    s->mean_ns[USER] = hold_ns;
    s->mean_ns[HOLDING] = think_ns;
    s->slice_key = slice_ns ? slice_ns << TIME_SHIFT : NEVER;
    for (s->leaves = 1; s->leaves < pcpus;) s->leaves *= 2;
    uint32_t ring_size = 1;
    while (ring_size < (uint32_t)siblings) ring_size *= 2;
    s->ring_mask = ring_size - 1;

    s->tree = allocate(2 * (size_t)s->leaves, sizeof *s->tree);
    for (int i = 0; i < 2 * s->leaves; i++) s->tree[i] = NEVER;
    s->phase_end = allocate((size_t)pcpus, sizeof *s->phase_end);
    s->slice_end = allocate((size_t)pcpus, sizeof *s->slice_end);
#ifdef DIRECTED_YIELD
    s->spin_end = allocate((size_t)pcpus, sizeof *s->spin_end);
#endif
    s->lock = allocate((size_t)pcpus, sizeof *s->lock);
    s->running = allocate((size_t)pcpus, sizeof *s->running);
    s->queue_start = allocate((size_t)pcpus, sizeof *s->queue_start);
    s->queue_length = allocate((size_t)pcpus, sizeof *s->queue_length);
    s->queue_at = allocate((size_t)pcpus, sizeof *s->queue_at);
    s->queue = allocate((size_t)s->vcpus, sizeof *s->queue);
    s->residual = allocate((size_t)s->vcpus, sizeof *s->residual);
    s->pcpu_of = allocate((size_t)s->vcpus, sizeof *s->pcpu_of);
    s->locks = allocate((size_t)vms, sizeof *s->locks);
#ifdef ALL_METRICS
    s->attempt = allocate((size_t)s->vcpus, sizeof *s->attempt);
#endif
    for (int m = 0; m < vms; m++) s->locks[m].ring = allocate(ring_size, sizeof(int32_t));

    /* vCPU j of VM m is on pCPU (m n + j) mod P, which is its own number mod P. */
    int filled = 0;
    for (int p = 0; p < pcpus; p++) {
        s->queue_start[p] = filled;
        for (int v = p; v < s->vcpus; v += pcpus) {
            s->queue[filled++] = v;
            s->pcpu_of[v] = p;
        }
        s->queue_length[p] = filled - s->queue_start[p];
        if (s->queue_length[p] == 0) s->running[p] = -1;
    }
    return s;
}

int main(int argc, char **argv) {
    bool preemption = true, usage = argc < 11;
    int64_t spin_ns = 0;
    for (int i = 11; i < argc; i++) {
        if (!strcmp(argv[i], "--no-preemption")) {
            preemption = false;
        } else if (!strcmp(argv[i], "--spin") && i + 1 < argc) {
            spin_ns = atoll(argv[++i]);
        } else {
            usage = true;
        }
    }
    if (usage) {
        fprintf(stderr,
                "usage: %s P M n think_ns hold_ns slice_ns duration_ns warmup_ns replications seed\n"
                "       [--no-preemption] [--spin spin_ns]\n",
                argv[0]);
        return 2;
    }
    int pcpus = atoi(argv[1]), vms = atoi(argv[2]), siblings = atoi(argv[3]);
    double think_ns = atof(argv[4]), hold_ns = atof(argv[5]);
    int64_t slice_ns = atoll(argv[6]), duration_ns = atoll(argv[7]), warmup_ns = atoll(argv[8]);
    int64_t replications = atoll(argv[9]);
    uint64_t seed = strtoull(argv[10], NULL, 10);
    /* The clock has 51 bits, 26 days; the limits keep every sum of two times below it. */
    const int64_t longest_ns = 1000000000000000;
    if (pcpus < 1 || pcpus > MAX_PCPUS || vms < 1 || vms > 10000 || siblings < 1 || siblings > 10000 ||
        replications < 1) {
        fprintf(stderr, "accepted: 1 to %d pCPUs, 1 to 10000 VMs of 1 to 10000 vCPUs, >= 1 replication\n",
                MAX_PCPUS);
        return 2;
    }
    if (think_ns < 1 || hold_ns < 1 || slice_ns < 1 || slice_ns > longest_ns / 1000 || duration_ns < 1 ||
        warmup_ns < 0 || duration_ns > longest_ns || warmup_ns > longest_ns - duration_ns) {
        fputs("accepted: times of at least 1 ns, a warm-up of at least 0, slices to 1000 s, runs to 10^6 s\n",
              stderr);
        return 2;
    }
#ifdef DIRECTED_YIELD
    const bool has_response = true;
#else
    const bool has_response = false;
#endif
    if ((spin_ns > 0) != has_response || spin_ns > longest_ns / 1000) {
        fputs("--spin and -DDIRECTED_YIELD go together; accepted: 1 ns to 1000 s\n", stderr);
        return 2;
    }
    if (!preemption && vms * siblings > pcpus) {
        fputs("--no-preemption needs a pCPU for every vCPU\n", stderr);
        return 2;
    }

    Sim *s = build(pcpus, vms, siblings, think_ns, hold_ns, preemption ? slice_ns : 0);
#ifdef DIRECTED_YIELD
    s->spin_key = spin_ns << TIME_SHIFT;
#endif
    xoshiro_seed(&s->generator, seed);
    s->next_draw = DRAWS;
    Counts sum = {0};
    Moments throughput = {0}, lhp_probability = {0}, wasted_fraction = {0};
    /* For the pooled LHP probability, sum over sum, and its standard error by the delta method. */
    double acq2 = 0, lhp2 = 0, acq_lhp = 0;
    const int64_t pcpu_time = pcpus * duration_ns;

#ifdef ALL_METRICS
    s->record = s->records = allocate((size_t)replications * 2 * (size_t)vms, sizeof *s->records);
#endif

    double began = seconds_now();
    for (int64_t r = 0; r < replications; r++) {
        start(s);
        Counts *n = &s->n;
        run_window(s, warmup_ns, duration_ns);
        n->drawn -= phases_in_progress(s);

        int64_t spin = n->spin[CONTENTION] + n->spin[LHP] + n->spin[LWP];
        if (n->user + n->hold + spin + n->idle != pcpu_time || n->user < 0 || n->hold < 0 ||
            n->spin[CONTENTION] < 0 || n->spin[LHP] < 0 || n->spin[LWP] < 0) {
            fprintf(stderr, "pCPU time does not add up in replication %lld\n", (long long)r);
            return 1;
        }
        double a = (double)n->acquisitions, b = (double)n->lhp_acquisitions;
        add_value(&throughput, a / (1e-9 * (double)duration_ns));
        if (n->acquisitions) add_value(&lhp_probability, b / a);
        add_value(&wasted_fraction, (double)spin / (double)pcpu_time);
        acq2 += a * a;
        lhp2 += b * b;
        acq_lhp += a * b;
        add_each(&sum, n);
    }
    double seconds = seconds_now() - began;

    int64_t events = sum.drawn + sum.switches;
    printf("{\"pcpus\": %d, \"vms\": %d, \"vcpus_per_vm\": %d, \"replications\": %lld", pcpus, vms, siblings,
           (long long)replications);
    printf(", \"events\": %lld, \"seconds\": %.6f, \"events_per_second\": %.6g, \"ns_per_event\": %.4f",
           (long long)events, seconds, (double)events / seconds, 1e9 * seconds / (double)events);
    print_moments("throughput", &throughput);
    print_moments("lhp_probability", &lhp_probability);
    print_moments("wasted_fraction", &wasted_fraction);
    if (sum.acquisitions && replications > 1) {
        double c = (double)replications, a = (double)sum.acquisitions;
        double ratio = (double)sum.lhp_acquisitions / a;
        double residual2 = fmax(0.0, lhp2 - 2 * ratio * acq_lhp + ratio * ratio * acq2);
        print_number("lhp_probability_pooled", ratio);
        print_number("lhp_probability_pooled_standard_error", sqrt(residual2 * c / (c - 1)) / a);
    }
    print_count("acquisitions", sum.acquisitions);
    print_count("contended_acquisitions", sum.contended_acquisitions);
    print_count("preemptions", sum.preemptions);
    print_count("lhp_events", sum.lhp_events);
    print_count("lhp_acquisitions", sum.lhp_acquisitions);
    print_count("lwp_events", sum.lwp_events);
    print_count("lwp_grants", sum.lwp_grants);
    print_count("yields", sum.yields);
    print_count("user_ns", sum.user);
    print_count("hold_ns", sum.hold);
    print_count("spin_contention_ns", sum.spin[CONTENTION]);
    print_count("spin_lhp_ns", sum.spin[LHP]);
    print_count("spin_lwp_ns", sum.spin[LWP]);
    print_count("idle_ns", sum.idle);
#ifdef ALL_METRICS
    print_all_metrics(s, replications);
#endif
    puts("}");
    return 0;
}

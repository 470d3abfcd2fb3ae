/* Hotrow: words shared by every public header: status, log, version, optimizer and initializer descriptions. */
#ifndef HOTROW_BASE_H
#define HOTROW_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HOTROW_API __attribute__((visibility("default")))

/* Starts an option struct: its size is set, every other field is zero, which means its default. */
#ifdef __cplusplus
#define HOTROW_INIT(type)                                                                                              \
  ([] {                                                                                                                \
    type hotrow_options = type();                                                                                      \
    hotrow_options.struct_size = sizeof(type);                                                                         \
    return hotrow_options;                                                                                             \
  }())
#else
#define HOTROW_INIT(type)                                                                                              \
  {                                                                                                                    \
    .struct_size = sizeof(type)                                                                                        \
  }
#endif

#define HOTROW_VERSION_MAJOR 0
#define HOTROW_VERSION_MINOR 1
#define HOTROW_VERSION_PATCH 0

/* What a call came to. 0 is success, errors are negative and are never renumbered.
 * They are grouped by what the caller should do about them; the sentence is in hotrow_last_error(). */
#define HOTROW_STATUS_LIST(X)                                                                                          \
  X(HOTROW_OK, 0, "ok")                                                                                                \
  X(HOTROW_ERR_INVALID, -1, "invalid argument")            /* mend the call */                                         \
  X(HOTROW_ERR_NOT_FOUND, -2, "not found")                 /* no such table, file or blob */                           \
  X(HOTROW_ERR_EXISTS, -3, "exists with other options")    /* the name is taken by something different */              \
  X(HOTROW_ERR_UNSUPPORTED, -4, "not in this build")       /* rebuild, or choose another device */                     \
  X(HOTROW_ERR_LIMIT, -5, "over a limit")                  /* make it smaller; the sentence names the limit */         \
  X(HOTROW_ERR_NO_MEMORY, -6, "out of memory")             /* free something */                                        \
  X(HOTROW_ERR_BUSY, -7, "busy")                           /* wait and call again */                                   \
  X(HOTROW_ERR_TIMED_OUT, -8, "deadline passed")           /* the peer named in the sentence did not answer */         \
  X(HOTROW_ERR_UNREACHABLE, -9, "unreachable")             /* nothing listens there */                                 \
  X(HOTROW_ERR_PROTOCOL, -10, "protocol violation")        /* a peer sent bytes that are not ours */                   \
  X(HOTROW_ERR_VERSION, -11, "version mismatch")           /* upgrade one side */                                      \
  X(HOTROW_ERR_FENCED, -12, "replaced by a newer session") /* another process took this rank: stop */                  \
  X(HOTROW_ERR_RESET, -13, "shard lost its state")         /* restart the job from its last save */                    \
  X(HOTROW_ERR_STORAGE, -14, "storage error")              /* disk full, or not writable */                            \
  X(HOTROW_ERR_CORRUPT, -15, "corrupt data")               /* a file does not match its checksum: restore */           \
  X(HOTROW_ERR_DEVICE, -16, "device error")                /* the accelerator failed */                                \
  X(HOTROW_ERR_INTERNAL, -17, "internal error")            /* our bug: report it */                                    \
  X(HOTROW_ERR_QUOTA, -18, "no room left")                 /* give the servers more memory, or make fewer rows */

typedef enum hotrow_status {
#define HOTROW_STATUS_ENUM(name, value, text) name = (value),
  HOTROW_STATUS_LIST(HOTROW_STATUS_ENUM)
#undef HOTROW_STATUS_ENUM
} hotrow_status;

/* The name of a status, e.g. "HOTROW_ERR_LIMIT"; "HOTROW_ERR_UNKNOWN" for a value that is none. Any thread. */
HOTROW_API const char *hotrow_status_name(hotrow_status status);
/* A few words for a status, e.g. "over a limit". Any thread. */
HOTROW_API const char *hotrow_status_text(hotrow_status status);
/* The sentence of the last call that failed on this thread; "" if none did. Valid until this thread's next failure. */
HOTROW_API const char *hotrow_last_error(void);
/* "0.1.0". */
HOTROW_API const char *hotrow_version(void);

typedef enum hotrow_log_level {
  HOTROW_LOG_ERROR = 0,
  HOTROW_LOG_WARN = 1,
  HOTROW_LOG_INFO = 2,
  HOTROW_LOG_DEBUG = 3
} hotrow_log_level;

/* Receives one line without a newline. May be called from any thread, one line at a time. */
typedef void (*hotrow_log_fn)(hotrow_log_level level, const char *line, void *context);

/* Sends log lines up to `level` to `fn` (NULL: nowhere, which is where they go at first). Any thread; process-wide. */
HOTROW_API void hotrow_log_set(hotrow_log_fn fn, hotrow_log_level level, void *context);

typedef enum hotrow_device { HOTROW_CPU = 0, HOTROW_CUDA = 1 } hotrow_device;

#define HOTROW_DIM_MAX 4096u
#define HOTROW_TABLE_NAME_MAX 63u /* bytes, without the closing 0: [A-Za-z0-9_.-] only */

/* How a shard turns a gradient g into a new row x. `lr` is the learning rate. A push may carry k > 1 accumulated
 * steps with the summed gradient G = g1+...+gk: what that means is said for each. t counts the row's steps.
 *   SGD               x -= lr*g                                              k > 1: x -= lr*G (exact)
 *   MOMENTUM          v = beta1*v + g; x -= lr*v                             k > 1: k steps of G/k
 *   ADAGRAD           a += g*g; x -= lr*g/(sqrt(a)+eps)                      k > 1: a += sum of g*g (exact), then G
 *   ROWWISE_ADAGRAD   a += mean over the row of g*g; x -= lr*g/(sqrt(a)+eps) k > 1: likewise
 *   ADAM              m = b1*m+(1-b1)*g; v = b2*v+(1-b2)*g*g;
 *                     x -= lr*(m/(1-b1^t))/(sqrt(v/(1-b2^t))+eps)            k > 1: k steps of G/k
 *   ADAMW             as Adam, with x -= ... + lr*weight_decay*x             k > 1: k steps of G/k
 *   ROWWISE_ADAM      as Adam, with one v: the mean over the row of g*g      k > 1: k steps of G/k
 *   FTRL              n' = n + g*g; z += g - (sqrt(n')-sqrt(n))/lr*x; n = n'; x = 0 where |z| <= l1, else
 *                     x = -(z - sign(z)*l1)/((eps+sqrt(n))/lr + weight_decay)
 *                                                                            k > 1: n' = n + sum of g*g (exact), then G
 *   LAMB              m, v as Adam; r = (m/(1-b1^t))/(sqrt(v/(1-b2^t))+eps) + weight_decay*x;
 *                     x -= lr*|x|/|r|*r, norms over the row; 1 for their quotient if either is 0
 *                                                                            k > 1: k steps of G/k
 * In a row of several segments "the row" is the segment. FTRL's z of a new row is such that its x is the row's initial
 * value. A learning rate that changes while training multiplies lr; FTRL's lr is part of what z means, so there it
 * multiplies g where z takes it in: a step is scaled by as much, and rows do not move without gradients.
 * (Duchi et al. 2011; row-wise as in FBGEMM and TorchRec; Kingma & Ba 2015; Loshchilov & Hutter 2019; McMahan et al.
 * 2013; You et al. 2020.) */
typedef enum hotrow_optimizer_kind {
  HOTROW_OPTIMIZER_DEFAULT = 0, /* row-wise Adagrad */
  HOTROW_SGD = 1,
  HOTROW_MOMENTUM = 2,
  HOTROW_ADAGRAD = 3,
  HOTROW_ROWWISE_ADAGRAD = 4,
  HOTROW_ADAM = 5,
  HOTROW_ADAMW = 6,
  HOTROW_ROWWISE_ADAM = 7,
  HOTROW_FTRL = 8,
  HOTROW_LAMB = 9
} hotrow_optimizer_kind;

/* A zero field means its default. All are plain floats so that both ends of a wire agree on every bit. */
typedef struct hotrow_optimizer {
  hotrow_optimizer_kind kind;
  float lr;            /* default 0.01 */
  float beta1;         /* momentum, or Adam's beta1; default 0.9 */
  float beta2;         /* Adam and its kin; default 0.999 */
  float eps;           /* default 1e-8 (Adam and its kin), 1e-10 (Adagrad), 1 (FTRL's beta) */
  float initial_state; /* of a new row: the accumulator of Adagrad, n of FTRL; default 0 */
  float weight_decay;  /* AdamW, LAMB; FTRL's l2; default 0 */
  float l1;            /* FTRL; default 0 */
} hotrow_optimizer;

/* What a new row holds. The value is a pure function of (seed, table name, key, column): it does not depend on shard
 * count, arrival order or threads. */
typedef enum hotrow_initializer_kind {
  HOTROW_INIT_DEFAULT = 0, /* uniform in [-scale, scale) with scale = 1/sqrt(dim) */
  HOTROW_INIT_ZERO = 1,
  HOTROW_INIT_CONSTANT = 2,        /* scale */
  HOTROW_INIT_UNIFORM = 3,         /* [-scale, scale) */
  HOTROW_INIT_NORMAL = 4,          /* mean 0, standard deviation scale */
  HOTROW_INIT_TRUNCATED_NORMAL = 5 /* likewise, drawn again where it lies beyond 2*scale */
} hotrow_initializer_kind;

typedef struct hotrow_initializer {
  hotrow_initializer_kind kind;
  float scale;
} hotrow_initializer;

/* Which rows of a table that has row_count_max rows make room for new ones. */
typedef enum hotrow_eviction {
  HOTROW_EVICT_LRU = 0, /* those pushed to longest ago */
  HOTROW_EVICT_LFU = 1  /* those pushed to least often: of the smallest clocks */
} hotrow_eviction;

/* A run of a row's columns with its own optimizer and initializer: one lookup of a key may bring a 1-float weight under
 * FTRL and a 16-float vector under Adagrad. */
typedef struct hotrow_segment {
  uint32_t dim;
  hotrow_optimizer optimizer;
  hotrow_initializer initializer;
} hotrow_segment;

#define HOTROW_SEGMENTS_MAX 4u

/* Where a segment lies in a row, which is: values of all segments | states of all segments. */
typedef struct hotrow_segment_layout {
  hotrow_optimizer optimizer; /* resolved: no zero defaults */
  uint32_t dim;
  uint32_t value_offset; /* floats from the start of the row */
  uint32_t state_offset; /* floats from the start of the row */
  uint32_t state_dim;
  uint32_t square_offset; /* floats from the start of the row's squares */
  uint32_t square_dim;
} hotrow_segment_layout;

typedef struct hotrow_row_layout {
  uint32_t segment_count;
  uint32_t dim; /* this and the following: sums over the segments */
  uint32_t state_dim;
  uint32_t square_dim;
  hotrow_segment_layout segments[HOTROW_SEGMENTS_MAX];
} hotrow_row_layout;

/* How values and gradients travel (F32, F16, I8), and how a shard keeps values (F32, F16, BF16). */
typedef enum hotrow_dtype {
  HOTROW_F32 = 0,
  HOTROW_F16 = 1, /* IEEE half: 11 bits of precision, at most 65504 */
  HOTROW_I8 = 2,  /* bytes with one float of scale per row */
  HOTROW_BF16 = 3 /* the upper half of a float: 8 bits of precision, its range */
} hotrow_dtype;

/* Bytes that belong to somebody else. */
typedef struct hotrow_frame {
  const void *data;
  size_t size;
} hotrow_frame;

#ifdef __cplusplus
}
#endif
#endif

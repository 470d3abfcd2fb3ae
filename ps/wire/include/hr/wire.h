/* The messages between clients and shards: what ps/WIRE.md says, in C. Little-endian; sockets and memory are elsewhere.
 *
 * A message is a header frame and a known number of array frames. Data messages (pull, push, push_pull, tick and their
 * replies) have a section table as frame 1 and then, per section, the arrays that its fields call for, in the order of
 * the comments below; with no sections they have neither. All other messages have one body frame, or none; a body has
 * at least one byte.
 *
 * hr_wire_decode checks every length, count, flag and checksum before it hands out a pointer; it never allocates.
 * Frames must be aligned to 8 bytes (the transport sees to that); frames of no bytes may have any pointer. */
#ifndef HR_WIRE_H
#define HR_WIRE_H

#include <hr/status.h>

#define HR_WIRE_MAGIC 0x57525448u /* "HTRW" in the order of the bytes */
#define HR_WIRE_VERSION 3u
#define HR_WIRE_HEADER_BYTES 128u
#define HR_WIRE_SECTION_BYTES 40u

/* Limits of one message. */
#define HR_WIRE_DATA_SECTIONS_MAX 64u     /* pushes and pulls of a request; pull replies of a reply */
#define HR_WIRE_ANNOUNCE_SECTIONS_MAX 64u /* of a reply */
#define HR_WIRE_SECTIONS_MAX (HR_WIRE_DATA_SECTIONS_MAX + HR_WIRE_ANNOUNCE_SECTIONS_MAX)
#define HR_WIRE_ARRAYS_MAX 7u /* of one section; an announce section has at most 2 */
#define HR_WIRE_FRAMES_MAX (2u + HR_WIRE_DATA_SECTIONS_MAX * HR_WIRE_ARRAYS_MAX + HR_WIRE_ANNOUNCE_SECTIONS_MAX * 2u)
#define HR_WIRE_KEYS_MAX (1u << 22)                 /* of one section */
#define HR_WIRE_MESSAGE_BYTES_MAX ((size_t)1 << 31) /* all frames together */
#define HR_WIRE_ANNOUNCE_BYTES_MAX (1u << 24)      /* of a reply's announce sections; kept free in every pull's reply */
#define HR_WIRE_BOUND_MAX 1000000000u              /* of a pull bound: HOTROW_BOUND_MAX; of an announce_step */
#define HR_WIRE_STEPS_MAX (HR_WIRE_BOUND_MAX + 1u) /* k of one pushed row */
#define HR_WIRE_ADMIT_COUNT_MAX 65535u             /* pushes before a key gets a row */
#define HR_WIRE_ROWS_MAX ((uint64_t)1 << 42)       /* a table's row_count_max: 1024 shards of 2^32 */
#define HR_WIRE_TEXT_BYTES_MAX 500u                /* the sentence of an error reply */
#define HR_WIRE_BLOB_BYTES_MAX 4096u               /* rendezvous */
#define HR_WIRE_NAME_BYTES_MAX 63u                 /* table, blob and save names */
#define HR_WIRE_WORLD_MAX 4096u                    /* workers of a job */
#define HR_WIRE_TABLES_MAX 256u                    /* of a list reply */
#define HR_WIRE_STATS_BYTES_MAX (1u << 20)         /* JSON text */
#define HR_WIRE_CHUNK_BYTES_MAX (1u << 20)         /* of a checkpoint's blob, in one message */
#define HR_WIRE_CHECKPOINT_BLOB_MAX (1u << 30)     /* a checkpoint's blob */
#define HR_WIRE_CHECKPOINT_KEEP_MAX 1000000u       /* checkpoints of a series that are kept */

typedef enum hr_op {
  HR_OP_HELLO = 1,        /* body hr_hello; reply body hr_hello_reply */
  HR_OP_TABLE_CREATE = 2, /* body hr_table_desc; reply body hr_table_desc, its id set */
  HR_OP_TABLE_OPEN = 3,   /* body: the name; reply body hr_table_desc */
  HR_OP_TABLE_LIST = 4,   /* no body; reply body hr_table_desc[] */
  HR_OP_PULL = 5,         /* data */
  HR_OP_PUSH = 6,         /* data; with no sections it says that an exact job's step has nothing for this shard */
  HR_OP_PUSH_PULL = 7,    /* data: push sections, then pull sections */
  HR_OP_BARRIER = 8,      /* body hr_barrier; reply status OK once all arrived, BUSY before: ask again */
  HR_OP_BLOB_PUT = 9,     /* rendezvous: body name_size u8, name, bytes */
  HR_OP_BLOB_GET = 10,    /* body name; reply body bytes, or NOT_FOUND: ask again */
  HR_OP_STATS = 11,       /* no body; reply body: JSON text of one object */
  HR_OP_SAVE = 12,        /* body hr_save; reply when the shard's part is on disk under its final name */
  HR_OP_BYE = 13,         /* the session ends in good order */
  HR_OP_TICK = 14,        /* data without sections, no push: asks for applied_seq and the announcements */
  HR_OP_CHECKPOINT = 15,  /* body hr_checkpoint, and with HR_CHECKPOINT_BLOB bytes behind it. BUSY: ask again */
  HR_OP_RESTORED = 16,    /* body hr_restored_request; reply body hr_restored and bytes of the job's blob behind it */
  HR_OP_COUNT = 17
} hr_op;

/* Header flags. Unknown flags are refused, and flags that say nothing with the op. A reply has HR_FLAG_ERROR exactly if
 * its status is not 0. */
#define HR_FLAG_REPLY 1u /* from shard to client; the op is that of the request */
#define HR_FLAG_ERROR 2u /* a reply whose one body frame is a sentence, status != 0 (BUSY and GAP too) */
#define HR_FLAG_SYNC 4u  /* push: the step's push of an exact job; pull: wait until that step's pushes are applied */
#define HR_FLAG_READ_ONLY 8u /* pull: create no rows; the reply says which keys were found */
#define HR_FLAG_RESET                                                                                                  \
  16u /* reply to a data request that wanted announcements: they are gone, announce_seq is the new                     \
         start, and every copy of this shard's rows is stale. No announce sections */
#define HR_FLAG_DURABLE 32u /* tick: the client waits until what it has pushed is durable, so that should be soon */
#define HR_FLAGS_KNOWN 63u

/* Status of a reply beyond hotrow_status: the shard has not applied the push the request names: resend from
 * applied_seq + 1. */
#define HR_STATUS_GAP (-100)

typedef struct hr_session_id {
  uint64_t high, low;
} hr_session_id;

/* The header, 128 bytes in this order without padding; the last 8 are XXH3-64 of the 120 before. */
typedef struct hr_header {
  uint32_t magic;
  uint8_t version;
  uint8_t op;
  uint16_t flags;
  uint64_t request_id;   /* chosen by the client, repeated in the reply */
  hr_session_id session; /* of the client: random per process start */
  uint64_t epoch;        /* of the shard, from hello's reply; 0 in hello */
  uint64_t push_seq;     /* push: its number, from 1 without gaps; else: the last push sent before. Reply: repeated */
  uint64_t applied_seq;  /* reply: every push up to here is applied */
  uint64_t durable_seq;  /* reply: every push up to here survives the shard's death (0: memory only) */
  uint32_t step;         /* the client's step number; push: the step it ends; pull: the step it is for */
  uint32_t rank;
  int32_t status;       /* reply: hotrow_status or HR_STATUS_GAP; request: 0 */
  uint32_t retry_ms;    /* reply BUSY: ask again after this */
  uint16_t frame_count; /* including this one */
  uint16_t section_count;
  uint32_t reserved;     /* 0 */
  uint64_t payload_size; /* bytes of the frames that follow, together */
  uint64_t payload_hash; /* XXH3-64 of the frames that follow, one after the other; 0 when payload_size is 0 */
  uint64_t announce_seq; /* below */
  uint64_t reserved2;    /* 0 */
  uint64_t header_hash;
} hr_header;

/* A shard numbers its announcements from 1 within an epoch. announce_seq of a data request: the first that this client
 * has not had; 0: it wants none. Of the reply: the number that follows the last one told, in this reply or before; 0 if
 * none were wanted. A data reply tells all from the request's announce_seq on. Of hello's reply: the next number.
 * Of everything else, error replies too: 0. */

/* Section kinds; a kind must fit the message's op and direction. CLOCK is u32, or u64 if HR_SECTION_WIDE. ROWS(n) is
 * f32[n*dim] if dtype is HOTROW_F32; f16[n*dim] if HOTROW_F16; i8[n*dim] and, as the next array, scales f32[n] if
 * HOTROW_I8. */
typedef enum hr_section_kind {
  HR_SECTION_PULL = 1,       /* keys u64[key_count]; seen CLOCK[held_count], or [key_count] if HR_SECTION_WIDE */
  HR_SECTION_PUSH = 2,       /* keys u64[key_count]; grads ROWS(key_count); and if HR_SECTION_STEPS:
                                steps CLOCK[key_count]; squares f32[key_count*square_dim] if square_dim > 0 */
  HR_SECTION_PULL_REPLY = 3, /* index CLOCK[held_count]; clocks CLOCK[row_count]; values ROWS(row_count);
                                states f32[row_count*state_dim] if state_dim > 0;
                                found u8[(key_count - asked_held + 7) / 8] if HR_SECTION_FOUND, unused bits 0;
                                unseen_counts u32[HR_UNSEEN_BUCKETS] if HR_SECTION_UNSEEN */
  HR_SECTION_ANNOUNCE = 4,   /* keys u64[key_count]; clocks u32[key_count], but not if HR_SECTION_GONE */
} hr_section_kind;

#define HR_SECTION_STEPS 1u      /* push: rows carry steps (and squares); without it k = 1 for all */
#define HR_SECTION_WANT_STATE 2u /* pull: the reply brings the optimizer's state too */
#define HR_SECTION_FOUND 4u      /* pull reply: the found bits are there */
#define HR_SECTION_WIDE 8u    /* pull, its reply, push with steps: CLOCK has 8 bytes, so that HET's bytes are counted */
#define HR_SECTION_UNSEEN 16u /* pull: the reply is to bring unseen_counts; its reply: they are there */
#define HR_SECTION_GONE 32u   /* announcements: these rows are gone, and there are no clocks */
#define HR_SECTION_FLAGS_KNOWN 63u

/* A section, 40 bytes in this order on the wire, and where its arrays are once decoded.
 *
 * PULL: keys are distinct. The first held_count keys are held by the client with the clock seen[i]; the rest are not
 * (seen, where it has an element for them, is all ones). The shard returns held rows whose clock - seen > bound, and
 * every other row, its values in dtype.
 * PULL_REPLY: held_count here = how many held rows are returned; index[] are their positions among the request's held
 * keys, ascending. row_count = held_count + the number of keys that were not held, in the request's order. found: bit i
 * (LSB first) for the i-th key that was not held. key_count and asked_held repeat the request's key_count, held_count.
 * PUSH: keys are distinct within the section; sections of a message are applied in order.
 * ANNOUNCE, behind the pull replies: the clocks of rows that have moved on. A key may stand there twice: the later
 * counts. With GONE: rows that were deleted, so that no copy of them is good. All fields but kind, flags, table and
 * key_count are 0; key_count is not. */
typedef struct hr_section {
  uint8_t kind;
  uint8_t flags;
  uint8_t dtype;    /* hotrow_dtype. PULL: wanted; PULL_REPLY: of the values; PUSH: of the gradients */
  uint8_t reserved; /* 0 */
  uint32_t table;   /* the shard's id for it */
  uint32_t key_count;
  uint32_t held_count;
  uint32_t row_count; /* PULL_REPLY only, else 0 */
  uint32_t dim;
  uint32_t extra_dim; /* PUSH: square_dim if HR_SECTION_STEPS, else 0. PULL_REPLY: state_dim. PULL: 0 */
  union {
    uint32_t bound; /* PULL: pull bound. PULL_REPLY: asked_held */
    float lr_scale; /* PUSH: factor of every learning rate of the table, finite and >= 0; 1 leaves them as they are */
  };
  uint32_t unseen_max; /* PULL_REPLY: largest clock - seen among held rows not returned */
  uint32_t unseen_sum; /* PULL_REPLY: their sum, saturated */
  /* Decoded or to be encoded; NULL where the section has no such array. Decoded arrays of no elements are not NULL. */
  const uint64_t *keys;
  const uint32_t *seen;          /* PULL */
  const float *grads;            /* PUSH of F32 */
  const uint32_t *steps;         /* PUSH */
  const float *squares;          /* PUSH */
  const uint32_t *index;         /* PULL_REPLY */
  const uint32_t *clocks;        /* PULL_REPLY, ANNOUNCE */
  const float *values;           /* PULL_REPLY of F32 */
  const float *states;           /* PULL_REPLY */
  const uint8_t *found;          /* PULL_REPLY */
  const uint32_t *unseen_counts; /* PULL_REPLY */
  const void *packed;            /* PUSH, PULL_REPLY of F16, I8: in the place of grads, values */
  const float *scales;           /* PUSH, PULL_REPLY of I8 */
} hr_section;

/* Element i of seen, steps, index or clocks. */
static inline uint32_t hr_section_u32(const uint32_t *array, const hr_section *section, size_t i)
{
  return array[section->flags & HR_SECTION_WIDE ? 2 * i : i];
}

/* Bytes of one value. */
static inline size_t hr_dtype_bytes(hotrow_dtype dtype)
{
  return dtype == HOTROW_F32 ? 4 : dtype == HOTROW_I8 ? 1 : 2;
}

/* May a shard keep values so? */
static inline bool hr_dtype_is_kept(uint32_t dtype)
{
  return dtype == HOTROW_F32 || dtype == HOTROW_F16 || dtype == HOTROW_BF16;
}

/* Floats of squares or state of one row: the heaviest optimizer has 2 dim + 1 in every segment. */
static inline uint32_t hr_wire_extra_dim_max(uint32_t dim)
{
  return 2 * dim + HOTROW_SEGMENTS_MAX;
}

/* unseen_counts: how many held rows stayed behind whose clock - seen is 0 (bucket 0), or in [2^(b-1), 2^b) (bucket b).
 */
#define HR_UNSEEN_BUCKETS 32u
static inline uint32_t hr_unseen_bucket(uint32_t unseen)
{
  return unseen ? 32u - (uint32_t)__builtin_clz(unseen) : 0;
}

typedef hotrow_frame hr_frame;

/* A message in the open: what decode yields and encode takes. Pointers are into the frames. */
typedef struct hr_message {
  hr_header header;
  const void *body;       /* ops without sections: the body frame */
  size_t body_size;       /* 0: no body frame */
  uint16_t section_count; /* == header.section_count */
  hr_section sections[HR_WIRE_SECTIONS_MAX];
} hr_message;

/* Bodies, fixed size, little-endian, no padding. */
typedef enum hr_role { HR_ROLE_WORKER = 1, HR_ROLE_READER = 2, HR_ROLE_TOOL = 3 } hr_role;

typedef struct hr_hello { /* 40 bytes */
  uint64_t job;           /* sync groups, barriers and ranks belong to a job */
  uint64_t started_ns;    /* start token: of two sessions of one rank the larger wins */
  uint32_t role;
  uint32_t world_size;
  uint32_t shard_index; /* what the client takes this shard for: refused if it is not */
  uint32_t shard_count;
  uint32_t version_min;
  uint32_t version_max;
} hr_hello;

typedef struct hr_hello_reply { /* 40 bytes */
  uint64_t epoch;
  uint64_t received_seq; /* pushes of this session that the shard has; > 0 if it is not greeted for the first time */
  uint32_t shard_index;
  uint32_t shard_count;
  uint32_t version;
  uint32_t table_count;
  uint32_t is_durable; /* 1: durable_seq grows, and pushes are to be kept until it covers them. 0: it stays 0 */
  uint32_t reserved;
} hr_hello_reply;

typedef struct hr_table_desc { /* 304 bytes */
  uint64_t seed;
  uint64_t row_count; /* reply only */
  uint32_t id;        /* likewise */
  uint32_t dim;       /* the sum of the segments' */
  uint16_t segment_count;
  uint16_t storage_dtype;                       /* hotrow_dtype, not I8: how a shard keeps the values of its rows */
  uint32_t announce_step;                       /* a row is announced when its clock has moved on by this; 0: never */
  char name[HR_WIRE_NAME_BYTES_MAX + 1];        /* zero-filled */
  hotrow_segment segments[HOTROW_SEGMENTS_MAX]; /* resolved; those beyond segment_count are zero */
  /* Which keys get a row, and which rows go for good. 0: every key; none. */
  uint64_t row_count_max;      /* of all shards together: the rows used least make room */
  uint32_t admit_count;        /* a key gets a row with its admit_count-th push */
  float admit_probability;     /* a push to a key without a row gives it one so often; not with admit_count */
  uint32_t steps_to_live;      /* a row goes that was not pushed to in so many steps of training */
  float l2_weight_threshold;   /* and then only if the norm of its value is below this; 0: whatever its value */
  uint16_t eviction;           /* hotrow_eviction: with row_count_max, what least used means */
  uint16_t counts_occurrences; /* 1: a push's steps are how often its keys occurred, of all clients; 0: batches */
  uint32_t step;               /* reply only: steps of training that the table has seen */
} hr_table_desc;

/* Do keys get their rows by being pushed to, and not when they are first pulled? */
static inline bool hr_table_has_admission(const hr_table_desc *desc)
{
  return desc->admit_count > 0 || desc->admit_probability > 0;
}

/* Do rows go for good? */
static inline bool hr_table_has_eviction(const hr_table_desc *desc)
{
  return desc->steps_to_live > 0 || desc->row_count_max > 0;
}

/* HOTROW_ERR_INVALID, HOTROW_ERR_LIMIT: the sentence begins with the field. */
hotrow_status hr_table_check_rules(const hr_table_desc *desc);

/* The name of the first field of these rules in which two descriptions differ, or NULL. */
const char *hr_table_rules_difference(const hr_table_desc *a, const hr_table_desc *b);

typedef struct hr_barrier { /* 16 bytes */
  uint64_t number;          /* of the job's barriers, from 1 */
  uint32_t world_size;
  uint32_t reserved;
} hr_barrier;

typedef struct hr_save { /* 72 bytes */
  uint64_t token;        /* the same for every shard's part of one save */
  char name[HR_WIRE_NAME_BYTES_MAX + 1];
} hr_save;

/* What a client wants of a shard for one checkpoint. */
typedef enum hr_checkpoint_action {
  HR_CHECKPOINT_COPY = 1,    /* write the part as it is now; answered when it is copied, before it is on disk */
  HR_CHECKPOINT_SETTLE = 2,  /* BUSY until it is on disk */
  HR_CHECKPOINT_BLOB = 3,    /* shard 0: these bytes of the blob */
  HR_CHECKPOINT_PUBLISH = 4, /* shard 0, once all have settled: BUSY until the checkpoint has its name */
  HR_CHECKPOINT_DROP = 5     /* it is not to be */
} hr_checkpoint_action;

typedef struct hr_checkpoint { /* 112 bytes; all messages of one checkpoint differ in action and blob_offset only */
  uint64_t token;              /* of this checkpoint, not 0 */
  char name[HR_WIRE_NAME_BYTES_MAX + 1];
  uint64_t step; /* of the job */
  uint64_t blob_size;
  uint64_t blob_offset; /* of the bytes behind this; 0 but for HR_CHECKPOINT_BLOB */
  uint32_t action;
  uint32_t rank_count; /* that stood still at this step; 0: it is of no one step */
  uint32_t keep;       /* so many of its series (its name up to the last '-') are kept; 0: all */
  uint32_t reserved;   /* 0 */
} hr_checkpoint;

typedef struct hr_restored_request { /* 8 bytes */
  uint64_t offset;                   /* of the blob's bytes that are wanted: at most blob_size */
} hr_restored_request;

typedef struct hr_restored { /* 32 bytes: the checkpoint that the shard was started from */
  uint64_t token;
  uint64_t step;
  uint64_t blob_size;
  uint32_t rank_count;
  uint32_t reserved; /* 0 */
} hr_restored;

_Static_assert(sizeof(hr_checkpoint) == 112 && sizeof(hr_restored_request) == 8 && sizeof(hr_restored) == 32,
               "checkpoint");
_Static_assert(sizeof(hr_header) == HR_WIRE_HEADER_BYTES, "header");
_Static_assert(sizeof(hr_hello) == 40 && sizeof(hr_hello_reply) == 40, "hello");
_Static_assert(sizeof(hr_table_desc) == 304, "table description");
_Static_assert(sizeof(hr_barrier) == 16 && sizeof(hr_save) == 72, "barrier and save");
_Static_assert(sizeof(hotrow_optimizer) == 32 && sizeof(hotrow_initializer) == 8, "optimizer and initializer");
_Static_assert(sizeof(hotrow_segment) == 44, "segment");

/* A table, blob or save name: 1 to 63 of [A-Za-z0-9_.-], not beginning with a dot. HOTROW_ERR_INVALID. */
hotrow_status hr_wire_check_name(const char *name, size_t name_size);

/* "pull" for HR_OP_PULL, ...; "unknown" for what is none. */
const char *hr_op_name(uint8_t op);

/* HOTROW_ERR_LIMIT if the message, or the largest reply that its pull sections can have with announcements on top, is
 * over HR_WIRE_MESSAGE_BYTES_MAX, or its own announcements are over HR_WIRE_ANNOUNCE_BYTES_MAX. For requests whose size
 * a caller chooses: ask before encoding. A shard need not: what hr_wire_decode let through can be answered. */
hotrow_status hr_wire_check_size(const hr_message *message);

/* One array of a section: one frame. */
typedef struct hr_wire_array {
  size_t pointer_offset; /* of its pointer in hr_section */
  uint64_t size_bytes;
} hr_wire_array;

/* The arrays that a section's fields call for, in the order of the frames; returns how many. An array of no bytes is a
 * frame too. The fields must be sound. */
size_t hr_wire_arrays(const hr_section *section, hr_wire_array arrays[HR_WIRE_ARRAYS_MAX]);

/* Bytes of a section on the wire, its arrays included. */
uint64_t hr_wire_section_bytes(const hr_section *section);

/* Encodes message into frames_p: frame 0 is header_bytes (caller's, HR_WIRE_HEADER_BYTES), frame 1 of a message with
 * sections is section_bytes (caller's, section_count * HR_WIRE_SECTION_BYTES; may be NULL if there are none), the
 * others point at the message's own arrays: nothing is copied and nothing allocated. Fills in magic, version, counts,
 * sizes, hashes and what is reserved. The message must be sound (asserted, with all that hr_wire_decode checks).
 * frames_p has room for HR_WIRE_FRAMES_MAX. */
void hr_wire_encode(const hr_message *message, uint8_t *header_bytes, uint8_t *section_bytes, hr_frame *frames_p,
                    size_t *frame_count_p);

/* Begins the reply to a request: op, request_id, session, push_seq, step and rank are repeated, the rest is empty: the
 * shard sets epoch, applied_seq, durable_seq and announce_seq. Any header that hr_wire_decode handed out will do. The
 * sections themselves are left as they are. */
void hr_wire_reply(const hr_header *request, hr_message *reply_p);

/* The same as an error: status is an error of hotrow_status or HR_STATUS_GAP. The sentence is cut to what may be sent,
 * without control bytes, and kept in text_bytes. */
void hr_wire_reply_error(const hr_header *request, int32_t status, const char *text,
                         char text_bytes[HR_WIRE_TEXT_BYTES_MAX], hr_message *reply_p);

/* Decodes and checks a whole message. What it does not look for: a key twice in a section (that costs a table; whoever
 * needs distinct keys sees to it), NaN in what is f32 and in replies (a model may have diverged), and what only the
 * shard can know (tables, dims, epoch, session). On failure *message_p has no body and no sections, and holds the
 * header if that can be answered: 128 bytes, our magic, its own hash right and a known op (header.magic is then
 * HR_WIRE_MAGIC); else a zero header. A reply is never to be answered.
 *
 *   HOTROW_ERR_PROTOCOL  not ours, damaged, or inconsistent: the sentence names the field and the value
 *   HOTROW_ERR_VERSION   ours, of another version: the sentence names both
 *   HOTROW_ERR_LIMIT     over a limit above: the sentence names it */
hotrow_status hr_wire_decode(const hr_frame *frames, size_t frame_count, hr_message *message_p);

#endif

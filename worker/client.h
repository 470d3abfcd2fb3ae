/* The blocking client: a core, its transport and the deadline of the call in hand. */
#ifndef HR_CLIENT_H
#define HR_CLIENT_H

#include "core.h"
#include "transport_zmq.h"

/* The checkpoint that this client has begun. */
typedef struct hr_client_checkpoint {
  bool is_open;
  hr_checkpoint what;
  uint8_t *blob;      /* owned: what.blob_size bytes; NULL once shard 0 has them, or if there are none */
  uint64_t blob_sent; /* bytes */
  bool is_settled;
  uint64_t asked_ns; /* when shards were last asked how far they are */
} hr_client_checkpoint;

struct hotrow_client {
  hr_core *core; /* owned */
  hotrow_transport transport;
  bool has_sockets;       /* the transport is ours */
  char *shards;           /* owned: the option's text, cut at the commas */
  const char **endpoints; /* owned array, into shards */
  uint32_t shard_count;
  uint32_t timeout_ms;
  uint64_t job;
  uint32_t rank, world_size;
  uint64_t barrier_number; /* of the last barrier */
  uint64_t stall_ns;       /* that lookups waited */
  hr_client_checkpoint checkpoint;
};

/* When the call that begins now must have ended. */
uint64_t hr_client_deadline(const hotrow_client *client, uint32_t timeout_ms);

/* Checks options beyond what the sentences of a shard would say, and fills in the description they ask the shards for.
 */
hotrow_status hr_table_options_check(const hotrow_client *client, const hotrow_table_options *options);
hotrow_status hr_table_options_describe(const hotrow_table_options *options, hr_table_desc *desc_p);
/* Do the options go with the table that the shards have? */
hotrow_status hr_table_options_match(const hotrow_table_options *options, const hr_table_desc *desc, bool is_reader);
/* The first thing in which two descriptions differ, but for announce_step; NULL if nothing does. */
const char *hr_table_difference(const hr_table_desc *a, const hr_table_desc *b);

/* Feeds messages to the core while `is_pending` holds and no link is broken; `what` names the call in the sentence. */
hotrow_status hr_client_wait(hotrow_client *client, bool (*is_pending)(const hr_core *core), uint64_t deadline_ns,
                             const char *what, uint32_t timeout_ms);

#define HR_ASK_AGAIN_NS 2000000 /* pause before shards are asked again for what is not there yet */
void hr_client_pause(void);

/* The same question to all shards, until all have answered, one has refused, or the deadline. */
hotrow_status hr_client_ask_all(hotrow_client *client, hr_op op, const void *body, size_t body_size,
                                uint64_t deadline_ns, const char *what, uint32_t timeout_ms);

/* client_checkpoint.c */
void hr_client_checkpoint_forget(hotrow_client *client);

/* One question to one shard, until its answer or the deadline. The answer is in the core. */
hotrow_status hr_client_ask(hotrow_client *client, uint32_t shard, hr_op op, const void *body, size_t body_size,
                            uint64_t deadline_ns, const char *what, uint32_t timeout_ms);

#endif

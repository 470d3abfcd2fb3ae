/* The protocol of one embedding row: two workers, one shard, a network that loses, repeats and cuts, a shard that dies.
 * README.md beside this file says what is modelled, how to run it and how to read what comes out.
 *
 * ANNOUNCE: the shard announces clocks; else every read is probed. SPOIL: what a worker does with a row that it pulled
 * before its last push, see take_fresh. Sizes and faults of the world: */
#ifndef STEPS
#define STEPS 2 /* of worker 0; every step reads the row and updates it */
#endif
#ifndef STEPS_OTHER
#define STEPS_OTHER STEPS /* of worker 1 */
#endif
#if STEPS > STEPS_OTHER
#define STEPS_MAX STEPS
#else
#define STEPS_MAX STEPS_OTHER
#endif
#ifndef PULL_BOUND
#define PULL_BOUND 1
#endif
#ifndef PUSH_BOUND
#define PUSH_BOUND 1
#endif
#ifndef H
#define H 1 /* ANNOUNCE: clock ticks between two announcements of the row */
#endif
#ifndef LOG_SIZE
#define LOG_SIZE 2 /* ANNOUNCE: entries that the log holds */
#endif
#ifndef FAULTS
#define FAULTS 0 /* a message lost, a request sent again too early, a reply that comes twice, a connection cut */
#endif
#ifndef CRASHES
#define CRASHES 0 /* the shard dies and comes back as it was at its last cut */
#endif
#ifndef SHARD_CUTS
#define SHARD_CUTS 1 /* with CRASHES: cuts before the last crash */
#endif
#ifndef AHEAD
#define AHEAD 0 /* ANNOUNCE: pulls of a row that may still be read */
#endif
#ifndef OTHER_ROWS
#define OTHER_ROWS 0 /* ANNOUNCE: announcements of other rows, which fill the log too */
#endif

/* Planted faults; each must break an assertion. */
#ifdef WRONG_H
#define H_SHARD (H + 1)
#else
#define H_SHARD H
#endif
#ifdef WRONG_H_WORKER
#define H_WORKER (H - 1)
#else
#define H_WORKER H
#endif

/* ONLY_READS: checks what a copy has of the other worker, and nothing else. It shows what a fault does to reads when
 * another assertion would stop the search before. */
#ifdef ONLY_READS
#define check(rule) skip
#else
#define check(rule) assert(rule)
#endif

#define NO_COPY 255 /* as seen */
#define WRAPPED 255 /* as announced clock: the log no longer holds all that was asked for */

mtype = { PUSH, PULL, TICK, ACK, KEEP, FRESH, GAP, RESET };

/* Request: kind; id of a pull; push: its own number or the last one sent before; seen of a held copy; epoch; log
 * position had. Reply: kind; id; applied; durable; clock and own steps in the row, if FRESH; log position; newest
 * announced clock of the row since the position had, 0 if none; epoch; GHOST: steps of the other in the table. */
chan to_shard[2] = [2] of { mtype, byte, byte, byte, byte, byte };
chan to_worker[2] = [2] of { mtype, byte, byte, byte, byte, byte, byte, byte, byte, byte };

/* The shard. A cut holds row, clock and watermarks as they were at one moment. */
byte table[2]; /* GHOST: steps of each worker in the row */
byte shard_clock;
byte applied[2]; /* last push applied, by worker */
byte cut_table[2], cut_clock, cut_applied[2];
byte shard_epoch = 1;
byte announced, log_end, log[LOG_SIZE];

typedef worker_state {
  byte pending;     /* own steps not pushed */
  byte sent;        /* last push sent */
  byte acked;       /* last push known to be applied */
  byte forgotten;   /* last push known to be durable; later ones are kept for another try */
  byte size[STEPS_MAX + 1]; /* steps in each push */
  byte epoch = 1;
  byte log_had;
  bool has_copy;
  byte seen, known; /* of the copy; known: its clock when last announced, or pulled */
  bool pulling;
  bit pull_id;
  byte pull_push, pull_seen; /* as it was sent, for another try */
  bool may_step; /* PROBE: the lookup was answered and its row read */
  /* GHOSTS */
  byte done;                 /* own steps made */
  byte copy_own, copy_other; /* steps that the copy contains */
  byte table_other;          /* steps of the other in the table when the last reply left */
};
worker_state W[2];

byte faults_left = FAULTS, crashes_left = CRASHES, shard_cuts_left = SHARD_CUTS, ahead_left = AHEAD,
     other_rows_left = OTHER_ROWS;
#ifdef LOST_PUSH
byte lost_push_left = 1;
#endif

/* The message in hand, and scratch: nothing here outlives the step that sets it. */
hidden mtype m_kind;
hidden byte m_id;
hidden byte m_push, m_seen, m_epoch, m_had, m_applied, m_durable, m_clock, m_own, m_log_end, m_heard, m_other;
hidden byte n, sum, missing;

#include "shard.pml"
#include "worker.pml"

init
{
  atomic {
    run link(0);
    run link(1);
    run fate();
    run worker(0);
    run worker(1)
  }
  /* When nothing more can happen, every step of both is in the table, once. */
  timeout -> atomic {
    check(W[0].done == STEPS && W[1].done == STEPS_OTHER);
    check(table[0] == STEPS && table[1] == STEPS_OTHER);
    check(W[0].forgotten == W[0].sent && W[1].forgotten == W[1].sent)
  }
}

/* A worker: its steps, its pushes and pulls, what it makes of the replies. */

/* The read rule, at the shard state of the last reply; no phantom; own steps exactly once. */
inline check_read(w)
{
  missing = (W[w].table_other > W[w].copy_other -> W[w].table_other - W[w].copy_other : 0);
  assert(missing <= PULL_BOUND);
  assert(W[w].copy_other <= W[w].table_other);
  check(W[w].copy_own == W[w].done);
  missing = 0
}

inline copy_drop(w)
{
  W[w].has_copy = false;
  W[w].seen = 0;
  W[w].known = 0;
  W[w].copy_own = 0;
  W[w].copy_other = 0
}

#ifdef NAMED_IS_APPLIED
#define CONTAINED(w) W[w].pull_push
#else
#define CONTAINED(w) m_applied
#endif

/* Steps in the pushes after number `first` that the worker still has: sum. */
inline add_up(w, first)
{
  sum = 0;
  n = first;
  do
  :: n < W[w].sent ->
     n++;
     if
     :: n > W[w].forgotten -> sum = sum + W[w].size[n]
     :: else
     fi
  :: else -> break
  od
}

/* The pull was answered, or is given up. */
inline pull_end(w)
{
  W[w].pulling = false;
  W[w].pull_push = 0;
  W[w].pull_seen = 0
}

/* Own steps in the copy: what the row contains, what it does not contain yet, what is pending. The reply says which
 * pushes the row contains. SPOIL instead does without a row that was pulled before the last push. */
inline take_fresh(w)
{
#ifdef SPOIL
  if
  :: W[w].sent == W[w].pull_push ->
     sum = 0;
#else
  if
  :: true ->
     add_up(w, CONTAINED(w));
#endif
     W[w].has_copy = true;
     W[w].copy_other = m_other;
     W[w].copy_own = m_own + sum + W[w].pending;
#ifdef ANNOUNCE
     W[w].seen = m_clock;
     W[w].known = m_clock
#else
     W[w].seen = m_clock + sum;
     check_read(w);
     W[w].may_step = true
#endif
  :: else
  fi;
  pull_end(w)
}

inline take_reset(w)
{
  copy_drop(w);
  pull_end(w);
  W[w].epoch = m_epoch;
  W[w].log_had = m_log_end;
  W[w].acked = m_applied;
#ifdef ACK_IS_DURABLE
  if
  :: W[w].acked < W[w].forgotten -> W[w].acked = W[w].forgotten /* it has nothing to send again */
  :: else
  fi
#else
  check(W[w].forgotten <= m_durable);
  W[w].forgotten = m_durable
#endif
}

inline take_log(w)
{
  if
  :: m_heard == WRAPPED -> copy_drop(w)
  :: m_heard != WRAPPED && W[w].has_copy && m_heard > W[w].known -> W[w].known = m_heard
  :: else
  fi;
  if
  :: m_log_end > W[w].log_had -> W[w].log_had = m_log_end
  :: else
  fi
}

inline take_acknowledgement(w)
{
#if defined(ANNOUNCE) && !defined(EARLY_SEEN)
  do
  :: W[w].acked < m_applied ->
     W[w].acked++;
     if
     :: W[w].has_copy -> W[w].seen = W[w].seen + W[w].size[W[w].acked]
     :: else
     fi
  :: else -> break
  od;
#else
  if
  :: m_applied > W[w].acked -> W[w].acked = m_applied
  :: else
  fi;
#endif
#ifdef ACK_IS_DURABLE
  W[w].forgotten = W[w].acked
#else
  if
  :: m_durable > W[w].forgotten -> W[w].forgotten = m_durable
  :: else
  fi
#endif
}

inline take_reply(w)
{
  if
  :: m_kind == RESET && m_epoch == W[w].epoch /* said again to another request: what it says of the log is not for us */
  :: m_epoch != W[w].epoch -> W[w].table_other = m_other; take_reset(w)
  :: else ->
     W[w].table_other = m_other;
#ifdef ANNOUNCE
     take_log(w);
#endif
     take_acknowledgement(w);
     if
     :: W[w].pulling && m_id == W[w].pull_id && m_kind == FRESH -> take_fresh(w)
     :: W[w].pulling && m_id == W[w].pull_id && m_kind == KEEP ->
        check_read(w);
        W[w].may_step = true;
        pull_end(w)
     :: else
     fi
  fi
}

inline send_push(w, number)
{
  to_shard[w]!PUSH(0, number, 0, W[w].epoch, W[w].log_had)
}

inline new_push(w)
{
  W[w].sent++;
  W[w].size[W[w].sent] = W[w].pending;
#if !defined(ANNOUNCE) || defined(EARLY_SEEN)
  if
  :: W[w].has_copy -> W[w].seen = W[w].seen + W[w].pending
  :: else
  fi;
#endif
  W[w].pending = 0;
  send_push(w, W[w].sent)
}

inline send_pull(w)
{
  to_shard[w]!PULL(W[w].pull_id, W[w].pull_push, W[w].pull_seen, W[w].epoch, W[w].log_had)
}

inline new_pull(w)
{
  W[w].pulling = true;
  W[w].pull_id = 1 - W[w].pull_id;
  W[w].pull_push = W[w].sent;
#ifdef ANNOUNCE
  W[w].pull_seen = NO_COPY;
#else
  W[w].pull_seen = (W[w].has_copy -> W[w].seen : NO_COPY);
#endif
  send_pull(w)
}

#ifdef ANNOUNCE
#define may_read(w) (W[w].has_copy && W[w].known + H_WORKER - 1 <= W[w].seen + PULL_BOUND)
#else
#define may_read(w) W[w].may_step
#endif
#define has_steps(w) (W[w].done < (w == 0 -> STEPS : STEPS_OTHER))

inline step(w)
{
#ifdef ANNOUNCE
  check_read(w);
#else
  W[w].may_step = false;
#endif
  W[w].done++;
  W[w].pending++;
  W[w].copy_own = W[w].copy_own + W[w].has_copy;
  if
  :: W[w].pending > PUSH_BOUND -> new_push(w)
  :: else
  fi;
  check(W[w].pending <= PUSH_BOUND)
}

/* A tick is sent if it will tell something: to go on hearing nothing new is no progress. */
#ifdef ANNOUNCE
#define has_news(w) (has_steps(w) && W[w].has_copy && W[w].table_other != table[1 - w])
#else
#define has_news(w) false
#endif
#define waits_for_cut(w) (W[w].forgotten < W[w].sent && (W[w].epoch != shard_epoch || durable(w) > W[w].forgotten))

#define quiet(w) (empty(to_shard[w]) && empty(to_worker[w]))

proctype worker(byte w)
{
end:
  do
  :: d_step { has_steps(w) && may_read(w) && nfull(to_shard[w]) -> step(w) }
  :: d_step { W[w].pending > 0 && nfull(to_shard[w]) -> new_push(w) }
  :: d_step { has_steps(w) && !may_read(w) && !W[w].pulling && nfull(to_shard[w]) -> new_pull(w) }
#if AHEAD
  :: d_step {
       ahead_left > 0 && has_steps(w) && may_read(w) && !W[w].pulling && nfull(to_shard[w]) ->
       ahead_left--;
       new_pull(w)
     }
#endif
  :: d_step {
       empty(to_shard[w]) && (has_news(w) || waits_for_cut(w)) ->
       to_shard[w]!TICK(0, W[w].sent, 0, W[w].epoch, W[w].log_had)
     }
  :: d_step { nempty(to_worker[w]) -> to_worker[w]?REPLY; take_reply(w) }
  /* Time has passed without an answer. */
  :: d_step { quiet(w) && W[w].acked < W[w].sent -> send_push(w, W[w].acked + 1) }
  :: d_step { quiet(w) && W[w].acked == W[w].sent && W[w].pulling -> send_pull(w) }
#if FAULTS
  /* Too little time. */
  :: d_step {
       w == 0 && faults_left > 0 && W[w].acked < W[w].sent && nfull(to_shard[w]) ->
       faults_left--;
       send_push(w, W[w].acked + 1)
     }
  :: d_step { w == 0 && faults_left > 0 && W[w].pulling && nfull(to_shard[w]) -> faults_left--; send_pull(w) }
#endif
  od
}

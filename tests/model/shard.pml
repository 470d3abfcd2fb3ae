/* The shard: one thread, so every message is one indivisible step. */

#if CRASHES
/* When no crash is left to come, cuts change nothing any more. */
#define durable(w) (crashes_left > 0 -> cut_applied[w] : applied[w])
#else
#define durable(w) applied[w]
#endif

inline log_append(entry)
{
  log[log_end % LOG_SIZE] = entry;
  log_end++
}

/* What the log says about the row after position m_had: m_heard and m_log_end. */
inline log_read()
{
  m_log_end = log_end;
  m_heard = 0;
  n = m_had;
  if
  :: log_end - n > LOG_SIZE ->
     n = log_end - LOG_SIZE;
#ifndef NO_WRAP_RESET
     m_heard = WRAPPED
#endif
  :: else
  fi;
  do
  :: n < log_end ->
     if
     :: log[n % LOG_SIZE] > m_heard -> m_heard = log[n % LOG_SIZE]
     :: else
     fi;
     n++
  :: else -> break
  od
}

inline apply(w)
{
  table[w] = table[w] + W[w].size[m_push];
  shard_clock = shard_clock + W[w].size[m_push];
#ifdef ANNOUNCE
  if
  :: shard_clock - announced >= H_SHARD -> announced = shard_clock; log_append(shard_clock)
  :: else
  fi
#endif
}

inline take_push(w)
{
  if
  :: m_push == applied[w] + 1 ->
     m_kind = ACK;
     applied[w] = m_push;
#ifdef LOST_PUSH
     if
     :: lost_push_left > 0 -> lost_push_left--
     :: else -> apply(w)
     fi
#else
     apply(w)
#endif
  :: m_push <= applied[w] ->
     m_kind = ACK;
#ifdef NO_DEDUPE
     apply(w)
#endif
  :: else -> m_kind = GAP
  fi;
  /* Exactly once, in order: the row holds the steps of the pushes up to the watermark. */
  sum = 0;
  n = 1;
  do
  :: n <= applied[w] -> sum = sum + W[w].size[n]; n++
  :: else -> break
  od;
  check(table[w] == sum)
}

inline take_pull(w)
{
  m_kind = FRESH;
  if
  :: m_seen != NO_COPY && shard_clock - m_seen <= PULL_BOUND -> m_kind = KEEP
  :: else
  fi;
#ifndef REORDERED
  if
  :: m_push > applied[w] -> m_kind = GAP
  :: else
  fi
#endif
}

inline serve(w)
{
#ifdef LATE_ANNOUNCEMENT
  log_read();
#endif
  if
  :: m_epoch != shard_epoch -> m_kind = RESET
  :: else ->
     if
     :: m_kind == PUSH -> take_push(w)
     :: m_kind == PULL -> take_pull(w)
     :: m_kind == TICK -> m_kind = ACK
     fi
  fi;
#ifndef LATE_ANNOUNCEMENT
  log_read();
#endif
  if
  :: m_kind == FRESH -> m_clock = shard_clock; m_own = table[w]
  :: else -> m_clock = 0; m_own = 0
  fi
}

inline reply(w)
{
  to_worker[w]!m_kind(m_id, applied[w], durable(w), m_clock, m_own, m_log_end, m_heard, shard_epoch, table[1 - w])
}

#define REQUEST m_kind(m_id, m_push, m_seen, m_epoch, m_had)
#define REPLY m_kind(m_id, m_applied, m_durable, m_clock, m_own, m_log_end, m_heard, m_epoch, m_other)

/* The shard at one end of its stream with worker w. */
proctype link(byte w)
{
end:
  do
  :: d_step { nempty(to_shard[w]) && nfull(to_worker[w]) -> to_shard[w]?REQUEST; serve(w); reply(w) }
#if FAULTS
  :: d_step {
       w == 0 && faults_left > 0 && nempty(to_shard[w]) && empty(to_worker[w]) ->
       faults_left--;
       to_shard[w]?REQUEST;
       serve(w);
       reply(w);
       reply(w)
     }
#endif
#ifdef REORDERED
  :: d_step {
       to_shard[w]?[PUSH, _, _, _, _, _] && to_shard[w]??[PULL, _, _, _, _, _] && nfull(to_worker[w]) ->
       to_shard[w]??PULL(m_id, m_push, m_seen, m_epoch, m_had);
       m_kind = PULL;
       serve(w);
       reply(w)
     }
#endif
  od
}

#define on_way(w) (len(to_shard[w]) + len(to_worker[w]))

inline cut_off(w)
{
  do
  :: len(to_shard[w]) > 0 -> to_shard[w]?REQUEST
  :: len(to_shard[w]) == 0 && len(to_worker[w]) > 0 -> to_worker[w]?REPLY
  :: on_way(w) == 0 -> break
  od;
  n = 0
}

/* Row, clock and watermarks of one moment, all or nothing. */
inline cut()
{
  cut_clock = shard_clock;
  cut_table[0] = table[0];
  cut_table[1] = table[1];
  cut_applied[0] = applied[0];
  cut_applied[1] = applied[1]
}

/* Messages on their way stay there: the old replies come before the new, old requests reach the new shard. */
inline crash()
{
#ifdef NEW_LOG_SAME_EPOCH
  cut(); /* nothing is lost but the announcement log */
#endif
  shard_clock = cut_clock;
  table[0] = cut_table[0];
  table[1] = cut_table[1];
  applied[0] = cut_applied[0];
  applied[1] = cut_applied[1];
  announced = cut_clock;
  log_end = 0;
  n = 0;
  do
  :: n < LOG_SIZE -> log[n] = 0; n++
  :: else -> break
  od;
#if !defined(NO_EPOCH) && !defined(NEW_LOG_SAME_EPOCH)
  shard_epoch++;
#endif
  n = 0
}

/* What befalls shard and network. */
proctype fate()
{
end:
  do
#if FAULTS
  :: d_step { faults_left > 0 && len(to_shard[0]) > 0 -> faults_left--; to_shard[0]?REQUEST }
  :: d_step { faults_left > 0 && len(to_worker[0]) > 0 -> faults_left--; to_worker[0]?REPLY }
  :: d_step { faults_left > 0 && on_way(0) > 1 -> faults_left--; cut_off(0) }
#endif
#if OTHER_ROWS
  :: d_step { other_rows_left > 0 && log_end > 0 -> other_rows_left--; log_append(0) }
#endif
#if CRASHES
  :: d_step { crashes_left > 0 && shard_cuts_left > 0 && cut_clock != shard_clock -> shard_cuts_left--; cut() }
  :: d_step { crashes_left > 0 -> crashes_left--; crash() }
  :: d_step { crashes_left > 0 -> crashes_left-- } /* or it does not come */
#endif
  :: false
  od
}

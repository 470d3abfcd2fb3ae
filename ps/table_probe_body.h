/* A variant of the probe. Before it is included: PROBE and PROBE_LOOK (names), PROBE_TARGET (the instructions it is
 * compiled for) and PROBE_MATCH(bucket, key): the ways whose key is equal, as bits. */

/* True if this bucket decides: *entry_p, NULL if the key is not there. Else the search goes on in the next one. */
PROBE_TARGET static inline bool PROBE_LOOK(hr_bucket *bucket, uint64_t key, hr_entry **entry_p)
{
  unsigned match = PROBE_MATCH(bucket, key);
  if (match) {
    /* A free way holds key 0 too, but only behind the taken ones: the lowest match is the key if anything is. */
    hr_entry *entry = &bucket->entries[__builtin_ctz(match)];
    *entry_p = entry->row != HR_ROW_NONE ? entry : NULL;
    return true;
  }
  *entry_p = NULL;
  return bucket->entries[HR_BUCKET_WAYS - 1].row == HR_ROW_NONE;
}

/* Keys that had to go past their home bucket come last: the next one is on its way from memory meanwhile. */
PROBE_TARGET static size_t PROBE(hr_probe *probe, hr_entry **entries_p)
{
  const hr_index *index = probe->index;
  const uint64_t *keys = probe->keys;
  size_t first = probe->next, key_count = probe->key_count;
  if (first >= key_count)
    return 0;
  size_t end = key_count - first < HR_PROBE_BLOCK ? key_count : first + HR_PROBE_BLOCK;
  if (probe->split_count != index->split_count) { /* the first block, or segments have been replaced */
    for (size_t i = first; i < end; i++)
      probe->homes[i % HR_PROBE_BLOCK] = fetch_home(index, keys[i]);
    probe->split_count = index->split_count;
  }
  hr_probe_home late[HR_PROBE_BLOCK];
  size_t late_keys[HR_PROBE_BLOCK], late_count = 0;
  for (size_t i = first; i < end; i++) {
    hr_probe_home home = probe->homes[i % HR_PROBE_BLOCK];
    if (!PROBE_LOOK(&home.buckets[home.hash % HR_SEGMENT_BUCKETS], keys[i], &entries_p[i - first])) {
      __builtin_prefetch(&home.buckets[++home.hash % HR_SEGMENT_BUCKETS]);
      late_keys[late_count] = i;
      late[late_count++] = home;
    }
    if (i + HR_PROBE_BLOCK < key_count)
      probe->homes[i % HR_PROBE_BLOCK] = fetch_home(index, keys[i + HR_PROBE_BLOCK]);
  }
  for (size_t l = 0; l < late_count; l++) {
    uint64_t b = late[l].hash, i = late_keys[l];
    while (!PROBE_LOOK(&late[l].buckets[b % HR_SEGMENT_BUCKETS], keys[i], &entries_p[i - first]))
      b++;
  }
  probe->next = end;
  return end - first;
}

#undef PROBE
#undef PROBE_LOOK
#undef PROBE_TARGET
#undef PROBE_MATCH

/* A variant of the probe. Before it is included: PROBE and PROBE_FIND (names), PROBE_TARGET (the instructions it is
 * compiled for) and PROBE_MATCH(bucket, key): the ways whose key is equal, as bits. */

PROBE_TARGET static inline hr_entry *PROBE_FIND(hr_bucket *buckets, uint64_t hash, uint64_t key)
{
  for (uint64_t b = hash;; b++) {
    hr_bucket *bucket = &buckets[b % HR_SEGMENT_BUCKETS];
    unsigned match = PROBE_MATCH(bucket, key);
    /* A free way holds key 0 too, but only behind the taken ones: the lowest match is the key if anything is. */
    if (match) {
      hr_entry *entry = &bucket->entries[__builtin_ctz(match)];
      return entry->row != HR_ROW_NONE ? entry : NULL;
    }
    if (bucket->entries[HR_BUCKET_WAYS - 1].row == HR_ROW_NONE)
      return NULL;
  }
}

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
  for (size_t i = first; i < end; i++) {
    hr_probe_home *home = &probe->homes[i % HR_PROBE_BLOCK];
    entries_p[i - first] = PROBE_FIND(home->buckets, home->hash, keys[i]);
    if (i + HR_PROBE_BLOCK < key_count)
      *home = fetch_home(index, keys[i + HR_PROBE_BLOCK]);
  }
  probe->next = end;
  return end - first;
}

#undef PROBE
#undef PROBE_FIND
#undef PROBE_TARGET
#undef PROBE_MATCH

/* A shard's database, read and not written to: the part of a checkpoint, or a data directory that no server has open.
 */
#ifndef HR_DATABASE_H
#define HR_DATABASE_H

#include <rocksdb/c.h>

#include "save_format.h"
#include "storage_format.h"

typedef struct hr_database {
  hr_path path; /* its directory */
  rocksdb_options_t *options;
  rocksdb_t *db; /* owned */
} hr_database;

/* Nothing is changed in the directory. HOTROW_ERR_CORRUPT, HOTROW_ERR_STORAGE; the sentence names it */
hotrow_status hr_database_open(const char *path, hr_database *database_p);
void hr_database_close(hr_database *database);

/* Says which shard of how many it is of. HOTROW_ERR_CORRUPT (no shard's), HOTROW_ERR_VERSION, HOTROW_ERR_STORAGE */
hotrow_status hr_database_read_meta(const hr_database *database, hr_store_meta *meta_p);

/* Has it pushes in its log that its rows do not have? HOTROW_ERR_CORRUPT, HOTROW_ERR_STORAGE */
/* Was what it holds being loaded from elsewhere, and is not all there? */
hotrow_status hr_database_is_unfinished(const hr_database *database, bool *is_unfinished_p);
hotrow_status hr_database_has_log(const hr_database *database, bool *has_log_p);

/* All tables, in the order of their ids. Stops at the first failure of `visit`. HOTROW_ERR_CORRUPT, HOTROW_ERR_STORAGE
 */
typedef hotrow_status (*hr_database_table_fn)(const hr_table_desc *desc, void *context);
hotrow_status hr_database_visit_tables(const hr_database *database, hr_database_table_fn visit, void *context);

/* All rows of a table, in the order of their keys. `record` is value[dim], state[float_count - dim], and may be written
 * to. */
typedef hotrow_status (*hr_database_row_fn)(uint64_t key, uint32_t clock, float *record, size_t float_count,
                                            void *context);
hotrow_status hr_database_visit_rows(const hr_database *database, uint32_t table, hr_database_row_fn visit,
                                     void *context);

/* All its buckets of keys without a row, in the order of their numbers. */
typedef hotrow_status (*hr_database_bucket_fn)(uint64_t number, const void *bytes, size_t size, void *context);
hotrow_status hr_database_visit_buckets(const hr_database *database, uint32_t table, hr_database_bucket_fn visit,
                                        void *context);

#endif

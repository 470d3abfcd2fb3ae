/* Layout, little-endian: "HRDUMP01"; u64 parameters, u64 rows, u64 floats in a row; the dense parameters; then per key,
 * ascending: u64 key, its row. Two runs that agree in every bit write equal files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "train_state.h"

static int key_compare(const void *a_p, const void *b_p)
{
  const uint64_t a = *(const uint64_t *)a_p, b = *(const uint64_t *)b_p;
  return (a > b) - (a < b);
}

/* All keys of the training split, whether training got to them or not: which rows exist depends on timing (look-ahead
 * creates some early), what they hold does not. */
static hotrow_status collect_keys(hr_trainer *trainer, uint64_t **keys_p, size_t *count_p)
{
  hr_dataset *data = trainer->ranks[0].data;
  const hr_dataset_info *info = hr_dataset_get_info(data);
  const size_t capacity = hr_mul((size_t)info->sample_count, info->field_count);
  void *memory;
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint64_t), "keys to dump", &memory));
  uint64_t *keys = memory;
  size_t count = 0, unique = 0;
  hr_batch batch;
  hotrow_status status = hr_batch_init(&batch, info, trainer->shape.batch_capacity);
  if (status != HOTROW_OK)
    goto free_keys;
  status = hr_dataset_rewind(data, 0);
  while (status == HOTROW_OK && (status = hr_dataset_read(data, &batch)) == HOTROW_OK && batch.count > 0) {
    const size_t key_count = batch.count * info->field_count;
    HOTROW_ASSERT(key_count <= capacity - count);
    memcpy(keys + count, batch.keys, key_count * sizeof *keys);
    count += key_count;
  }
  hr_batch_fini(&batch);
  if (status != HOTROW_OK)
    goto free_keys;
  qsort(keys, count, sizeof *keys, key_compare);
  for (size_t i = 0; i < count; i++)
    if (i == 0 || keys[i] != keys[i - 1])
      keys[unique++] = keys[i];
  *keys_p = keys;
  *count_p = unique;
  return HOTROW_OK;
free_keys:
  free(keys);
  return status;
}

static hotrow_status dump_params(hr_trainer *trainer, FILE *file)
{
  const size_t size = trainer->param_count * sizeof(float);
  hr_dense *dense = trainer->dense;
  void *params;
  HOTROW_TRY(hr_alloc(size, 1, "parameters to dump", &params));
  hotrow_status status = dense->kernels->copy_out(params, trainer->params, size, dense->stream);
  if (status == HOTROW_OK)
    status = dense->call->wait(dense);
  if (status == HOTROW_OK)
    fwrite(params, 1, size, file);
  free(params);
  return status;
}

static hotrow_status dump_rows(hr_trainer *trainer, const uint64_t *keys, size_t count, FILE *file)
{
  const size_t row_dim = hr_row_dim(&trainer->shape);
  const size_t at_once = trainer->shape.batch_capacity * trainer->shape.field_count;
  float *rows = trainer->ranks[0].rows.host;
  for (size_t first = 0; first < count; first += at_once) {
    hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
    request.table = trainer->viewer_table;
    request.keys = keys + first;
    request.key_count = count - first < at_once ? count - first : at_once;
    request.out = rows;
    HOTROW_TRY(hotrow_lookup(trainer->viewer, &request, 1));
    for (size_t i = 0; i < request.key_count; i++) {
      fwrite(&keys[first + i], sizeof *keys, 1, file);
      fwrite(rows + i * row_dim, sizeof *rows, row_dim, file);
    }
  }
  return HOTROW_OK;
}

hotrow_status hr_dump_check(const char *path)
{
  FILE *file = fopen(path, "ab");
  if (file == NULL)
    return hr_fail(HOTROW_ERR_STORAGE, "cannot write %s: %s", path, strerror(errno));
  fclose(file);
  return HOTROW_OK;
}

hotrow_status hr_dump(hr_trainer *trainer, const char *path)
{
  uint64_t *keys;
  size_t count;
  HOTROW_TRY(collect_keys(trainer, &keys, &count));
  hotrow_status status;
  FILE *file = fopen(path, "wb");
  if (file == NULL) {
    status = hr_fail(HOTROW_ERR_STORAGE, "cannot write %s: %s", path, strerror(errno));
    goto free_keys;
  }
  const uint64_t sizes[3] = {trainer->param_count, count, hr_row_dim(&trainer->shape)};
  fwrite("HRDUMP01", 8, 1, file);
  fwrite(sizes, sizeof sizes, 1, file);
  status = dump_params(trainer, file);
  if (status == HOTROW_OK)
    status = dump_rows(trainer, keys, count, file);
  const bool is_written = !ferror(file);
  if ((fclose(file) != 0 || !is_written) && status == HOTROW_OK)
    status = hr_fail(HOTROW_ERR_STORAGE, "cannot write %s: %s", path, strerror(errno));
free_keys:
  free(keys);
  return status;
}

/* Settings that suit a data set, found by search over the validation split. An option that is given wins. */
#include <string.h>

#include "train_state.h"

typedef struct preset {
  const char *data_name;
  const char *model_name;
  const char *hidden;
  const char *bottom;
  uint32_t dim, batch, epochs;
  float lr, dense_lr, dropout, embedding_dropout, l2, init_scale, accumulator;
} preset;

/* The first row that matches; NULL matches all. */
static const preset presets[] = {
    {"movielens", NULL, "64,32", "32", 16, 512, 4, 0.05f, 3e-3f, 0.2f, 0, 1e-4f, 0.01f, 0.1f},
    {"criteo", "dlrm", "64,32", "32", 8, 128, 1, 0.03f, 2e-3f, 0.1f, 0, 0, 0.01f, 0.03f},
    {"criteo", NULL, "64,32", "32", 8, 128, 1, 0.03f, 2e-3f, 0.2f, 0, 0, 0.01f, 0.03f},
    {NULL, NULL, "64,32", "32", 16, 512, 1, 0.03f, 2e-3f, 0, 0, 0, 0.01f, 0.03f},
};

static bool matches(const char *wanted, const char *name)
{
  return wanted == NULL || strcmp(wanted, name) == 0;
}

static void fill(float *value, float standard)
{
  *value = *value < 0 ? standard : *value;
}

void hr_train_apply_preset(hr_train_options *options, const char *data_name)
{
  const preset *p = presets;
  while (!matches(p->data_name, data_name) || !matches(p->model_name, hr_model_names[options->model]))
    p++;
  options->hidden = options->hidden != NULL ? options->hidden : p->hidden;
  options->bottom = options->bottom != NULL ? options->bottom : p->bottom;
  options->dim = options->dim > 0 ? options->dim : p->dim;
  options->batch = options->batch > 0 ? options->batch : p->batch;
  options->epochs = options->epochs > 0 ? options->epochs : p->epochs;
  fill(&options->lr, p->lr);
  fill(&options->dense_lr, p->dense_lr);
  fill(&options->dropout, p->dropout);
  fill(&options->embedding_dropout, p->embedding_dropout);
  fill(&options->l2, p->l2);
  fill(&options->init_scale, p->init_scale);
  fill(&options->accumulator, p->accumulator);
}

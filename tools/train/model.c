#include "model.h"

#include <string.h>

static const hr_model *const models[] = {&hr_model_wdl, &hr_model_deepfm};
const char *const hr_model_names[] = {"wdl", "deepfm", NULL};

const hr_model *hr_model_find(const char *name)
{
  for (size_t i = 0; i < sizeof models / sizeof *models; i++)
    if (strcmp(models[i]->name, name) == 0)
      return models[i];
  return NULL;
}

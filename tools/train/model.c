#include "model.h"

#include <string.h>

static const hr_model *const models[] = {&hr_model_wdl, &hr_model_deepfm, NULL};
const char *const hr_model_names[] = {"wdl", "deepfm", NULL};

const hr_model *hr_model_find(const char *name)
{
  const hr_model *const *model = models;
  while (*model != NULL && strcmp((*model)->name, name) != 0)
    model++;
  return *model;
}

#include "model.h"

#include <string.h>

static const hr_model *const models[] = {&hr_model_wdl, &hr_model_deepfm, &hr_model_dcnv2, &hr_model_dlrm, NULL};
const char *const hr_model_names[] = {"wdl", "deepfm", "dcnv2", "dlrm", NULL};

const hr_model *hr_model_find(const char *name)
{
  const hr_model *const *model = models;
  while (*model != NULL && strcmp((*model)->name, name) != 0)
    model++;
  return *model;
}

#include <hr/mutant.h>

hr_mutant_kind hr_mutant = HR_MUTANT_NONE;

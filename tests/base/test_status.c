#include <hr/memory.h>
#include <hr/optimizer.h>
#include <hr/options.h>

#include "hr_test.h"

static void every_status_has_a_name_and_a_text(void)
{
  CHECK(strcmp(hotrow_status_name(HOTROW_ERR_LIMIT), "HOTROW_ERR_LIMIT") == 0);
  CHECK(strcmp(hotrow_status_text(HOTROW_ERR_LIMIT), "over a limit") == 0);
  CHECK(strcmp(hotrow_status_name((hotrow_status)-99), "HOTROW_ERR_UNKNOWN") == 0);
  CHECK(hr_status_is_known(-18) && hr_status_is_known(0));
  CHECK(!hr_status_is_known(-19) && !hr_status_is_known(1));
}

static void the_sentence_survives_its_own_reuse(void)
{
  CHECK_EQ(hr_fail(HOTROW_ERR_INVALID, "inner %d", 7), HOTROW_ERR_INVALID);
  hr_fail(HOTROW_ERR_STORAGE, "outer: %s", hotrow_last_error());
  CHECK(strcmp(hotrow_last_error(), "outer: inner 7") == 0);
  char long_text[2000];
  memset(long_text, 'x', sizeof long_text);
  hr_fail_text(HOTROW_ERR_PROTOCOL, long_text, sizeof long_text);
  CHECK_EQ(strlen(hotrow_last_error()), HR_ERROR_TEXT_BYTES - 1);
}

typedef struct sample_options {
  size_t struct_size;
  uint64_t old_field;
  uint64_t new_field;
} sample_options;
HR_NO_TAIL_PADDING(sample_options, new_field);

static void options_of_older_and_newer_callers_are_read(void)
{
  sample_options to, from = {2 * sizeof(size_t), 5, 99};
  CHECK_OK(hr_options_copy(&to, sizeof to, &from, from.struct_size, "sample"));
  CHECK_EQ(to.old_field, 5);
  CHECK_EQ(to.new_field, 0);
  struct {
    sample_options known;
    uint64_t unknown;
  } newer = {{sizeof newer, 1, 2}, 3};
  CHECK_OK(hr_options_copy(&to, sizeof to, &newer, newer.known.struct_size, "sample"));
  CHECK_EQ(to.new_field, 2);
  CHECK_FAILS(hr_options_copy(&to, sizeof to, &from, 0, "sample"), HOTROW_ERR_INVALID, "struct_size 0");
}

static void memory_refuses_what_does_not_fit(void)
{
  void *memory = NULL;
  CHECK_FAILS(hr_alloc(SIZE_MAX / 2, 8, "big", &memory), HOTROW_ERR_NO_MEMORY, "big");
  CHECK_FAILS(hr_map(SIZE_MAX, "bigger", &memory), HOTROW_ERR_NO_MEMORY, "bigger");
  CHECK(memory == NULL);
  CHECK_OK(hr_alloc(0, 8, "nothing", &memory));
  free(memory);
  CHECK_OK(hr_map((size_t)1 << 40, "lazy", &memory)); /* a tebibyte of address space costs nothing untouched */
  ((char *)memory)[(size_t)1 << 39] = 1;
  hr_unmap(memory, (size_t)1 << 40);
  CHECK_EQ(hr_mul(SIZE_MAX, 2), SIZE_MAX);
}

static void optimizers_refuse_bad_numbers(void)
{
  hotrow_optimizer o = {0}, resolved;
  CHECK_OK(hr_optimizer_resolve(&o, &resolved));
  CHECK_EQ(resolved.kind, HOTROW_ROWWISE_ADAGRAD);
  CHECK(resolved.lr == 0.01f && resolved.beta1 == 0.9f);
  o.kind = (hotrow_optimizer_kind)77;
  CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "77");
  o = (hotrow_optimizer){.lr = -1.0f};
  CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "learning rate -1");
  o = (hotrow_optimizer){.beta1 = 1.0f};
  CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "beta1 1");
  o = (hotrow_optimizer){.eps = -1.0f};
  CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "eps -1");
  o = (hotrow_optimizer){.initial_state = -1.0f};
  CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "initial_state -1");
  hotrow_initializer i = {.kind = (hotrow_initializer_kind)9}, resolved_i;
  CHECK_FAILS(hr_initializer_resolve(&i, 16, &resolved_i), HOTROW_ERR_INVALID, "kind 9");
  i = (hotrow_initializer){0};
  CHECK_OK(hr_initializer_resolve(&i, 16, &resolved_i));
  CHECK(resolved_i.kind == HOTROW_INIT_UNIFORM && resolved_i.scale == 0.25f);
}

int main(void)
{
  RUN(every_status_has_a_name_and_a_text);
  RUN(the_sentence_survives_its_own_reuse);
  RUN(options_of_older_and_newer_callers_are_read);
  RUN(memory_refuses_what_does_not_fit);
  RUN(optimizers_refuse_bad_numbers);
  return 0;
}

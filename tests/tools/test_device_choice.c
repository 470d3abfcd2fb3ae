#include "device_choice.h"
#include "hr_test.h"

static void what_is_no_device_is_refused(void)
{
  static const char *const texts[] = {"",        "gpu",       "CUDA",    "cpu:0",
                                      "cuda:",   "cuda:x",    "cuda:-1", "cuda: 1",
                                      "cuda:1x", "cuda:1024", "cuda0",   "cuda:99999999999999999999"};
  hr_device_choice choice;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    CHECK_FAILS(hr_device_parse(texts[i], &choice), HOTROW_ERR_INVALID, "want cpu, cuda or cuda:N");
    CHECK(strstr(hotrow_last_error(), texts[i]) != NULL);
  }
}

static void a_device_may_be_named(void)
{
  hr_device_choice choice;
  CHECK_OK(hr_device_parse("cpu", &choice));
  CHECK(choice.device == HOTROW_CPU && !choice.has_index);
  CHECK_OK(hr_device_parse("cuda", &choice));
  CHECK(choice.device == HOTROW_CUDA && !choice.has_index);
  CHECK_OK(hr_device_parse("cuda:0", &choice));
  CHECK(choice.device == HOTROW_CUDA && choice.has_index && choice.index == 0);
  CHECK_OK(hr_device_parse("cuda:17", &choice));
  CHECK(choice.has_index && choice.index == 17);
}

static void workers_take_them_in_turn_unless_one_is_named(void)
{
  const hr_device_choice any = {.device = HOTROW_CUDA}, second = {.device = HOTROW_CUDA, .has_index = true, .index = 1};
  for (uint32_t count = 1; count <= 8; count++)
    for (uint32_t rank = 0; rank < 20; rank++) {
      CHECK_EQ(hr_device_choose(&any, rank, count), rank % count);
      CHECK_EQ(hr_device_choose(&second, rank, count), 1); /* whether it is there is for the device to say */
    }
}

int main(void)
{
  RUN(what_is_no_device_is_refused);
  RUN(a_device_may_be_named);
  RUN(workers_take_them_in_turn_unless_one_is_named);
  return 0;
}

#include "worker_test.h"

void test_start(test_servers *servers, uint32_t shards, const char *save_dir, const char *load_path)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  CHECK(shards <= TEST_SHARDS_MAX);
  test_device(); /* a test that is to be skipped is so while it has one thread */
  options.bind = "tcp://127.0.0.1:*";
  options.shards = shards;
  options.save_dir = save_dir;
  options.load_path = load_path;
  CHECK_OK(hotrow_server_start(&options, &servers->server));
  servers->endpoints[0] = 0;
  for (uint32_t i = 0; i < shards; i++) {
    if (i)
      strcat(servers->endpoints, ",");
    strcat(servers->endpoints, hotrow_server_endpoint(servers->server, i));
  }
}

void test_stop(test_servers *servers)
{
  hotrow_server_stop(servers->server);
  servers->server = NULL;
}

hotrow_device test_device(void)
{
  const char *name = getenv("HOTROW_TEST_DEVICE");
  const hotrow_kernels *kernels;
  if (!name || strcmp(name, "cpu") == 0)
    return HOTROW_CPU;
  CHECK_MSG(strcmp(name, "cuda") == 0, "HOTROW_TEST_DEVICE is %s, must be cpu or cuda", name);
  hotrow_status status = hotrow_kernels_get(HOTROW_CUDA, &kernels);
  if (status == HOTROW_ERR_UNSUPPORTED || status == HOTROW_ERR_DEVICE)
    hr_test_skip("cuda", "%s", hotrow_last_error());
  CHECK_OK(status);
  return HOTROW_CUDA;
}

hotrow_client_options test_options(const char *endpoints, uint32_t rank, uint32_t world_size)
{
  hotrow_client_options options = HOTROW_CLIENT_OPTIONS_INIT;
  options.shards = endpoints;
  options.job = 7;
  options.rank = rank;
  options.world_size = world_size;
  options.device = test_device();
  options.lookup_keys_max = options.device == HOTROW_CPU ? 0 : 1u << 13; /* the memory of a GPU is taken */
  return options;
}

hotrow_client *test_open(const char *endpoints, uint32_t rank, uint32_t world_size)
{
  hotrow_client_options options = test_options(endpoints, rank, world_size);
  hotrow_client *client = NULL;
  CHECK_OK(hotrow_client_open(&options, &client));
  return client;
}

hotrow_client *test_open_reader(const char *endpoints)
{
  hotrow_client_options options = test_options(endpoints, 0, 1);
  hotrow_client *client = NULL;
  options.read_only = 1;
  CHECK_OK(hotrow_client_open(&options, &client));
  return client;
}

hotrow_table_options test_table_options(const char *name, uint32_t dim)
{
  hotrow_table_options options = HOTROW_TABLE_OPTIONS_INIT;
  options.name = name;
  options.seed = 42;
  options.dim = dim;
  options.optimizer = (hotrow_optimizer){.kind = HOTROW_SGD, .lr = TEST_LR};
  options.initializer = (hotrow_initializer){HOTROW_INIT_NORMAL, 1.0f};
  return options;
}

hotrow_table *test_table(hotrow_client *client, const char *name, uint32_t dim)
{
  hotrow_table_options options = test_table_options(name, dim);
  hotrow_table *table = NULL;
  CHECK_OK(hotrow_table_create(client, &options, &table));
  return table;
}

hotrow_table *test_counting_table(hotrow_client *client, const char *name, uint32_t dim, uint64_t cache_row_count,
                                  uint32_t pull_bound, uint32_t push_bound)
{
  hotrow_table_options options = test_table_options(name, dim);
  hotrow_table *table = NULL;
  options.optimizer.lr = 1.0f;
  options.initializer = (hotrow_initializer){.kind = HOTROW_INIT_ZERO};
  options.cache_row_count = cache_row_count;
  options.pull_bound = pull_bound;
  options.push_bound = push_bound;
  CHECK_OK(hotrow_table_create(client, &options, &table));
  return table;
}

hotrow_lookup_request test_lookup_of(hotrow_table *table, const uint64_t *keys, size_t key_count, float *out)
{
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  request.table = table;
  request.keys = keys;
  request.key_count = key_count;
  request.out = out;
  return request;
}

hotrow_push_request test_push_of(hotrow_table *table, const uint64_t *keys, size_t key_count, const float *grads)
{
  hotrow_push_request request = HOTROW_PUSH_REQUEST_INIT;
  request.table = table;
  request.keys = keys;
  request.key_count = key_count;
  request.grads = grads;
  return request;
}

void test_read(hotrow_client *client, hotrow_table *table, const uint64_t *keys, size_t key_count, float *out)
{
  hotrow_lookup_request request = test_lookup_of(table, keys, key_count, out);
  CHECK_OK(hotrow_lookup(client, &request, 1));
}

void test_push(hotrow_client *client, hotrow_table *table, const uint64_t *keys, size_t key_count, const float *grads)
{
  hotrow_push_request request = test_push_of(table, keys, key_count, grads);
  CHECK_OK(hotrow_push(client, &request, 1));
}

hotrow_client_stats test_stats(const hotrow_client *client)
{
  hotrow_client_stats stats;
  hotrow_client_get_stats(client, &stats);
  return stats;
}

uint64_t test_elapsed_ms(uint64_t since_ns)
{
  return (hr_now_ns() - since_ns) / 1000000u;
}

/* One training step by hand. Start a shard (hotrow serve), then:
 *   cc lookup_push.c $(pkg-config --cflags --libs hotrow) && ./a.out tcp://127.0.0.1:7117 */
#include <stdio.h>

#include <hotrow/hotrow.h>

static int fail(const char *what)
{
  fprintf(stderr, "%s: %s\n", what, hotrow_last_error());
  return 1;
}

int main(int argc, char **argv)
{
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  client_options.shards = argc > 1 ? argv[1] : "tcp://127.0.0.1:7117";
  hotrow_client *client;
  if (hotrow_client_open(&client_options, &client) != HOTROW_OK)
    return fail("connect");

  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  table_options.name = "films";
  table_options.dim = 2;
  table_options.optimizer.kind = HOTROW_SGD;
  table_options.optimizer.lr = 0.5f;
  table_options.initializer.kind = HOTROW_INIT_ZERO;
  hotrow_table *table;
  if (hotrow_table_create(client, &table_options, &table) != HOTROW_OK)
    return fail("create table");

  const uint64_t keys[3] = {7, 1999, 7}; /* one key twice: its gradients are summed */
  const float grads[3][2] = {{1, 2}, {3, 4}, {5, 6}};
  float rows[3][2];
  hotrow_lookup_request lookup = HOTROW_LOOKUP_REQUEST_INIT;
  lookup.table = table;
  lookup.keys = keys;
  lookup.key_count = 3;
  lookup.out = rows[0];
  hotrow_push_request push = HOTROW_PUSH_REQUEST_INIT;
  push.table = table;
  push.keys = keys;
  push.key_count = 3;
  push.grads = grads[0];

  if (hotrow_lookup(client, &lookup, 1) != HOTROW_OK || /* the rows of the batch; forward and backward come here */
      hotrow_push(client, &push, 1) != HOTROW_OK ||     /* their gradients */
      hotrow_step(client, 0) != HOTROW_OK ||            /* one step of the optimizer */
      hotrow_lookup(client, &lookup, 1) != HOTROW_OK)
    return fail("step");
  for (int i = 0; i < 3; i++)
    printf("film %d: %g %g\n", (int)keys[i], (double)rows[i][0], (double)rows[i][1]);
  hotrow_client_close(client);
  return 0;
}

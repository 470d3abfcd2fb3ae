// A read-only client in C++17: what a serving program does.
#include <cstdio>
#include <memory>
#include <vector>

#include <hotrow/hotrow.h>

int main(int argc, char **argv)
{
  hotrow_client_options options = HOTROW_CLIENT_OPTIONS_INIT;
  options.shards = argc > 1 ? argv[1] : "";
  options.read_only = 1;
  hotrow_client *opened = nullptr;
  if (hotrow_client_open(&options, &opened) != HOTROW_OK)
    return std::fprintf(stderr, "open: %s\n", hotrow_last_error()), 1;
  std::unique_ptr<hotrow_client, decltype(&hotrow_client_close)> client(opened, hotrow_client_close);

  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  table_options.name = "films";
  hotrow_table *table = nullptr;
  if (hotrow_table_open(client.get(), &table_options, &table) != HOTROW_OK)
    return std::fprintf(stderr, "table: %s\n", hotrow_last_error()), 1;

  const std::vector<uint64_t> keys = {7, 123456};
  std::vector<float> rows(keys.size() * hotrow_table_dim(table));
  uint8_t hits = 0;
  hotrow_lookup_request lookup = HOTROW_LOOKUP_REQUEST_INIT;
  lookup.table = table;
  lookup.keys = keys.data();
  lookup.key_count = keys.size();
  lookup.out = rows.data();
  lookup.hit_mask = &hits;
  if (hotrow_lookup(client.get(), &lookup, 1) != HOTROW_OK)
    return std::fprintf(stderr, "lookup: %s\n", hotrow_last_error()), 1;
  const bool is_right = hits == 1 && rows[0] == -6.0f && rows[1] == -8.0f && rows[2] == 0.0f;
  if (!is_right)
    std::fprintf(stderr, "hits %d, rows %g %g %g\n", hits, double(rows[0]), double(rows[1]), double(rows[2]));
  return is_right ? 0 : 1;
}

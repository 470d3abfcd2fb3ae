/* MovieLens as click data: "was it rated 4 or more?" A rating is user, movie, rating and timestamp (unused), separated
 * by tabs (or by "::", as GroupLens ships them); users.dat and movies.dat beside it are separated by "::", in Latin-1,
 * which is never decoded: texts count as their bytes. The fields are user, movie, gender, age, occupation, zip code,
 * year (of the title's end; 0 if none) and the movie's set of genres as one value.
 *
 * The file is grouped by user, so the splits are drawn at random, the same way whatever the seed; training is
 * shuffled by (seed, epoch). All ratings of the split are held in memory: 12 bytes each. */
#include "dataset_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/hash.h>
#include <hr/memory.h>
#include <hr/random.h>

#include "text_stream.h"

enum { USER, MOVIE, GENDER, AGE, OCCUPATION, ZIP, YEAR, GENRES, FIELD_COUNT };

#define RATING_COLUMNS 4u
#define USER_COLUMNS 5u
#define MOVIE_COLUMNS 3u
#define SIDE_COLUMNS_MAX 5u
#define PERSON_ID_MAX ((UINT64_C(1) << 24) - 1) /* users and movies are looked up in arrays */
#define NUMBER_DIGITS_MAX 15
#define RATINGS_MAX UINT32_MAX
#define SPLIT_SEED UINT64_C(0x686f74726f77)

/* What users.dat or movies.dat says of one id. */
typedef struct side_row {
  bool known;
  uint64_t ids[4];
} side_row;

typedef struct side_file {
  side_row *rows; /* owned, by id */
  size_t count;
} side_file;

typedef struct rating {
  uint32_t user, movie;
  uint32_t label;
} rating;

typedef struct movielens_dataset {
  hr_dataset base;
  uint64_t seed;
  bool shuffled;
  side_file users, movies;
  rating *ratings; /* owned: of the whole file while it is loaded, then of the split */
  size_t rating_count;
  uint32_t *order; /* owned: the epoch's order of the split's ratings */
} movielens_dataset;

static uint64_t text_id(const char *text)
{
  return hr_hash_bytes(text, strlen(text)) & HR_FORMAT_ID_MASK;
}

static const char *separator_of(const char *line)
{
  return strchr(line, '\t') ? "\t" : "::";
}

static bool movielens_recognise(char *first_line)
{
  char *columns[1];
  return hr_text_split(first_line, separator_of(first_line), columns, 1) == RATING_COLUMNS;
}

static hotrow_status parse_number(const hr_text_stream *stream, const char *what, const char *text, uint64_t maximum,
                                  uint64_t *number_p)
{
  uint64_t number;
  if (!hr_text_parse(text, 10, NUMBER_DIGITS_MAX, &number) || number > maximum)
    return hr_text_stream_fail(stream, "%s \"%.40s\" is no number up to %llu", what, text, (unsigned long long)maximum);
  *number_p = number;
  return HOTROW_OK;
}

static hotrow_status parse_user(const hr_text_stream *stream, char **columns, side_row *row)
{
  HOTROW_TRY(parse_number(stream, "age", columns[2], HR_FORMAT_ID_MASK, &row->ids[1]));
  HOTROW_TRY(parse_number(stream, "occupation", columns[3], HR_FORMAT_ID_MASK, &row->ids[2]));
  row->ids[0] = text_id(columns[1]);
  row->ids[3] = text_id(columns[4]);
  return HOTROW_OK;
}

/* 1995 of "Toy Story (1995)"; 0 where the title does not end so. */
static uint64_t title_year(const char *title)
{
  char digits[5];
  uint64_t year;
  size_t size = strlen(title);
  if (size < 6 || title[size - 6] != '(' || title[size - 1] != ')')
    return 0;
  memcpy(digits, title + size - 5, 4);
  digits[4] = 0;
  return hr_text_parse(digits, 10, 4, &year) ? year : 0;
}

static hotrow_status parse_movie(const hr_text_stream *stream, char **columns, side_row *row)
{
  (void)stream;
  row->ids[0] = title_year(columns[1]);
  row->ids[1] = text_id(columns[2]);
  return HOTROW_OK;
}

static hotrow_status grow(void **array, size_t *capacity, size_t needed, size_t element_size, const char *what)
{
  if (needed <= *capacity)
    return HOTROW_OK;
  void *larger;
  size_t larger_capacity = 2 * needed;
  HOTROW_TRY(hr_alloc(larger_capacity, element_size, what, &larger));
  if (*array)
    memcpy(larger, *array, *capacity * element_size);
  free(*array);
  *array = larger;
  *capacity = larger_capacity;
  return HOTROW_OK;
}

typedef hotrow_status (*parse_side_fn)(const hr_text_stream *stream, char **columns, side_row *row);

static hotrow_status read_side_lines(hr_text_stream *stream, size_t column_count, parse_side_fn parse, side_file *side)
{
  char *line, *columns[SIDE_COLUMNS_MAX];
  size_t size;
  uint64_t id = 0;
  for (;;) {
    HOTROW_TRY(hr_text_stream_next(stream, &line, &size));
    if (!line)
      return HOTROW_OK;
    size_t found = hr_text_split(line, "::", columns, SIDE_COLUMNS_MAX);
    if (found != column_count)
      return hr_text_stream_fail(stream, "%zu columns, need %zu", found, column_count);
    HOTROW_TRY(parse_number(stream, "id", columns[0], PERSON_ID_MAX, &id));
    HOTROW_TRY(grow((void **)&side->rows, &side->count, (size_t)id + 1, sizeof *side->rows, "MovieLens side file"));
    if (side->rows[id].known)
      return hr_text_stream_fail(stream, "id %llu a second time", (unsigned long long)id);
    HOTROW_TRY(parse(stream, columns, &side->rows[id]));
    side->rows[id].known = true;
  }
}

/* Loads the file `name` that is beside the file at ratings_path. */
static hotrow_status load_side(const char *ratings_path, const char *name, size_t column_count, parse_side_fn parse,
                               side_file *side)
{
  char path[4096];
  const char *slash = strrchr(ratings_path, '/');
  int directory_size = slash ? (int)(slash - ratings_path) + 1 : 0;
  if ((size_t)snprintf(path, sizeof path, "%.*s%s", directory_size, ratings_path, name) >= sizeof path)
    return hr_fail(HOTROW_ERR_LIMIT, "path of %s beside %s is longer than %zu bytes", name, ratings_path,
                   sizeof path - 1);
  hr_text_stream *stream;
  HOTROW_TRY(hr_text_stream_open(path, &stream));
  hotrow_status status = read_side_lines(stream, column_count, parse, side);
  hr_text_stream_close(stream);
  return status;
}

static hotrow_status parse_rating(const hr_text_stream *stream, const movielens_dataset *dataset, char *line,
                                  rating *rating_p)
{
  char *columns[RATING_COLUMNS];
  uint64_t user = 0, movie = 0, stars = 0;
  size_t found = hr_text_split(line, separator_of(line), columns, RATING_COLUMNS);
  if (found != RATING_COLUMNS)
    return hr_text_stream_fail(stream, "%zu columns, need %u", found, RATING_COLUMNS);
  HOTROW_TRY(parse_number(stream, "user", columns[0], PERSON_ID_MAX, &user));
  HOTROW_TRY(parse_number(stream, "movie", columns[1], PERSON_ID_MAX, &movie));
  HOTROW_TRY(parse_number(stream, "rating", columns[2], 5, &stars));
  if (user >= dataset->users.count || !dataset->users.rows[user].known)
    return hr_text_stream_fail(stream, "user %llu is not in users.dat", (unsigned long long)user);
  if (movie >= dataset->movies.count || !dataset->movies.rows[movie].known)
    return hr_text_stream_fail(stream, "movie %llu is not in movies.dat", (unsigned long long)movie);
  *rating_p = (rating){(uint32_t)user, (uint32_t)movie, stars >= 4};
  return HOTROW_OK;
}

static hotrow_status read_ratings(hr_text_stream *stream, movielens_dataset *dataset)
{
  char *line;
  size_t size, capacity = 0;
  for (;;) {
    HOTROW_TRY(hr_text_stream_next(stream, &line, &size));
    if (!line)
      return HOTROW_OK;
    if (dataset->rating_count == RATINGS_MAX)
      return hr_fail(HOTROW_ERR_LIMIT, "%s has more than %u ratings", hr_text_stream_path(stream), RATINGS_MAX);
    HOTROW_TRY(grow((void **)&dataset->ratings, &capacity, dataset->rating_count + 1, sizeof *dataset->ratings,
                    "MovieLens ratings"));
    HOTROW_TRY(parse_rating(stream, dataset, line, &dataset->ratings[dataset->rating_count]));
    dataset->rating_count++;
  }
}

static hotrow_status load_ratings(const char *path, movielens_dataset *dataset)
{
  hr_text_stream *stream;
  HOTROW_TRY(hr_text_stream_open(path, &stream));
  hotrow_status status = read_ratings(stream, dataset);
  hr_text_stream_close(stream);
  return status;
}

/* order[count] becomes a random permutation (Fisher and Yates). */
static void permute(uint32_t *order, size_t count, uint64_t seed)
{
  hr_rng rng = {seed};
  for (size_t i = 0; i < count; i++) {
    size_t j = (size_t)hr_rng_below(&rng, i + 1);
    order[i] = order[j];
    order[j] = (uint32_t)i;
  }
}

/* Keeps the ratings of the split alone. */
static hotrow_status cut_split(movielens_dataset *dataset, hr_split split)
{
  uint64_t begin, end;
  rating *kept;
  uint32_t *order;
  hr_split_range(dataset->rating_count, split, &begin, &end);
  size_t count = (size_t)(end - begin);
  HOTROW_TRY(hr_alloc(dataset->rating_count, sizeof *order, "order of ratings", (void **)&order));
  dataset->order = order;
  HOTROW_TRY(hr_alloc(count, sizeof *kept, "ratings of a split", (void **)&kept));
  permute(order, dataset->rating_count, SPLIT_SEED);
  for (size_t i = 0; i < count; i++)
    kept[i] = dataset->ratings[order[begin + i]];
  free(dataset->ratings);
  dataset->ratings = kept;
  dataset->rating_count = count;
  dataset->base.info.sample_count = count;
  for (size_t i = 0; i < count; i++)
    order[i] = (uint32_t)i;
  return HOTROW_OK;
}

static hotrow_status movielens_rewind(hr_dataset *base, uint32_t epoch)
{
  movielens_dataset *dataset = (movielens_dataset *)base;
  if (dataset->shuffled)
    permute(dataset->order, dataset->rating_count, hr_mix64(dataset->seed + epoch * UINT64_C(0x9e3779b97f4a7c15)));
  return HOTROW_OK;
}

static hotrow_status movielens_read(hr_dataset *base, hr_batch *batch)
{
  const movielens_dataset *dataset = (const movielens_dataset *)base;
  for (size_t i = 0; i < batch->count; i++) {
    const rating *r = &dataset->ratings[dataset->order[base->position + i]];
    const uint64_t *user = dataset->users.rows[r->user].ids, *movie = dataset->movies.rows[r->movie].ids;
    const uint64_t ids[FIELD_COUNT] = {r->user, r->movie, user[0], user[1], user[2], user[3], movie[0], movie[1]};
    for (uint32_t field = 0; field < FIELD_COUNT; field++)
      batch->keys[i * FIELD_COUNT + field] = hr_format_key(field, ids[field]);
    batch->labels[i] = (float)r->label;
  }
  return HOTROW_OK;
}

static hotrow_status movielens_skip(hr_dataset *base, uint64_t sample_count)
{
  (void)base, (void)sample_count; /* position says it all */
  return HOTROW_OK;
}

static void movielens_close(hr_dataset *base)
{
  movielens_dataset *dataset = (movielens_dataset *)base;
  free(dataset->users.rows);
  free(dataset->movies.rows);
  free(dataset->ratings);
  free(dataset->order);
  free(dataset);
}

static hotrow_status movielens_open(const hr_dataset_options *options, hr_dataset **dataset_p)
{
  movielens_dataset *dataset;
  HOTROW_TRY(hr_alloc(1, sizeof *dataset, "MovieLens data set", (void **)&dataset));
  dataset->base.info = (hr_dataset_info){"movielens", FIELD_COUNT, 0, 0, 0};
  dataset->seed = options->seed;
  dataset->shuffled = options->split == HR_TRAIN;
  hotrow_status status = load_side(options->path, "users.dat", USER_COLUMNS, parse_user, &dataset->users);
  if (status == HOTROW_OK)
    status = load_side(options->path, "movies.dat", MOVIE_COLUMNS, parse_movie, &dataset->movies);
  if (status == HOTROW_OK)
    status = load_ratings(options->path, dataset);
  if (status == HOTROW_OK)
    status = cut_split(dataset, options->split);
  if (status == HOTROW_OK)
    status = movielens_rewind(&dataset->base, 0);
  if (status != HOTROW_OK) {
    movielens_close(&dataset->base);
    return status;
  }
  *dataset_p = &dataset->base;
  return HOTROW_OK;
}

const hr_dataset_format hr_format_movielens = {
    .looks = "MovieLens ratings: 4 columns separated by tabs or \"::\"",
    .recognise = movielens_recognise,
    .open = movielens_open,
    .close = movielens_close,
    .read = movielens_read,
    .skip = movielens_skip,
    .rewind = movielens_rewind,
};

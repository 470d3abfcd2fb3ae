/* The --config file: one flat YAML mapping, read by libcyaml against a schema made from the option table. Every value
 * is read as text, so that a file, the environment and a flag spell numbers and sizes alike. */
#include "options_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cyaml/cyaml.h>

#define CONFIG_BYTES_MAX ((size_t)1 << 20)

/* What libcyaml said: the first line is the sentence, the second line of the backtrace has the place. */
typedef struct complaint {
  char sentence[256];
  int line;
} complaint;

static void note_complaint(cyaml_log_t level, void *context, const char *format, va_list args)
{
  (void)level;
  complaint *said = context;
  char text[256];
  vsnprintf(text, sizeof text, format, args);
  text[strcspn(text, "\n")] = 0;
  if (!said->sentence[0] && text[0] != ' ' && strcmp(text, "Load: Backtrace:") != 0)
    snprintf(said->sentence, sizeof said->sentence, "%s", strncmp(text, "Load: ", 6) == 0 ? text + 6 : text);
  const char *place = strstr(text, "(line: ");
  if (place && said->line == 0)
    said->line = atoi(place + 7);
}

static bool ends_word(char c)
{
  return c == 0 || strchr(" \t\r,{'\":", c) != NULL;
}

/* The line on which `key` is given; libcyaml only tells where the token before it was. 0 if it is not found. */
static int line_of_key(const char *text, const char *key)
{
  size_t key_size = strlen(key);
  int number = 1;
  for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n', number++) {
    size_t size = strcspn(line, "#\n");
    for (size_t i = 0; key_size > 0 && i + key_size < size; i++) {
      if (strncmp(line + i, key, key_size) != 0 || (i > 0 && !ends_word(line[i - 1])) || !ends_word(line[i + key_size]))
        continue;
      size_t after = i + key_size;
      after += strspn(line + after, " \t'\"");
      if (line[after] == ':')
        return number;
    }
  }
  return 0;
}

static int file_error(const hr_settings *settings, int line, const char *sentence, const char *more)
{
  fprintf(stderr, "%s:%d: %s%s\n", settings->config_path, line, sentence, more);
  return HR_EXIT_CONFIG;
}

/* libcyaml puts the key behind the last colon of its sentence. */
static int unknown_key(const hr_settings *settings, const char *text, const complaint *said)
{
  const char *colon = strrchr(said->sentence, ':');
  const char *key = colon ? colon + 1 + strspn(colon + 1, " ") : said->sentence;
  int line = line_of_key(text, key);
  char sentence[HR_OPTION_NAME_MAX * 2 + 64], more[HR_OPTION_NAME_MAX + 32] = "";
  snprintf(sentence, sizeof sentence, "unknown key '%.60s'", key);
  const hr_setting *nearest = hr_options_nearest(settings, key, HR_FROM_FILE);
  if (nearest) {
    char nearest_key[HR_OPTION_NAME_MAX + 8];
    hr_option_key(nearest->option, nearest_key);
    snprintf(more, sizeof more, ": did you mean %s?", nearest_key);
  }
  return file_error(settings, line ? line : said->line, sentence, more);
}

/* The whole file as a string, or NULL after a line on stderr. */
static char *read_file(const char *path)
{
  FILE *file = fopen(path, "r");
  char *text = file ? malloc(CONFIG_BYTES_MAX + 1) : NULL;
  size_t size = text ? fread(text, 1, CONFIG_BYTES_MAX + 1, file) : 0;
  if (!text || ferror(file)) {
    fprintf(stderr, "%s: cannot read: %s\n", path, strerror(errno));
  } else if (size > CONFIG_BYTES_MAX) {
    fprintf(stderr, "%s: larger than %zu bytes\n", path, CONFIG_BYTES_MAX);
  } else if (memchr(text, 0, size)) {
    fprintf(stderr, "%s: has a byte 0: not text\n", path);
  } else {
    text[size] = 0;
    fclose(file);
    return text;
  }
  free(text);
  if (file)
    fclose(file);
  return NULL;
}

/* The values live until the program ends, as hr_options_parse promises: this list keeps hold of them. */
typedef struct file_values {
  struct file_values *next;
  char **texts; /* [settings->count]; owned by libcyaml's allocator */
} file_values;
static file_values *loaded;

static int keep_values(hr_settings *settings, const char *text, char **texts)
{
  file_values *kept = malloc(sizeof *kept);
  if (!kept) {
    fprintf(stderr, "hotrow %s: out of memory\n", settings->command->name);
    return HR_EXIT_OS;
  }
  *kept = (file_values){loaded, texts};
  loaded = kept;
  for (size_t i = 0; i < settings->count; i++) {
    hr_setting *setting = &settings->items[i];
    if (!texts[i] || setting->source != HR_FROM_DEFAULT)
      continue;
    char key[HR_OPTION_NAME_MAX + 8];
    hr_option_key(setting->option, key);
    setting->text = texts[i];
    setting->source = HR_FROM_FILE;
    setting->line = line_of_key(text, key);
  }
  return 0;
}

/* keys[i] is the name in YAML of setting i, at position i of an array of strings. */
static void make_schema(const hr_settings *settings, char keys[][HR_OPTION_NAME_MAX + 8], cyaml_schema_field_t *fields)
{
  size_t count = 0;
  for (size_t i = 0; i < settings->count; i++) {
    hr_option_key(settings->items[i].option, keys[i]);
    if (hr_option_is_flag_only(settings->items[i].option))
      continue;
    fields[count++] = (cyaml_schema_field_t){
        .key = keys[i],
        .data_offset = (uint32_t)(i * sizeof(char *)),
        .value = {.type = CYAML_STRING,
                  .flags = (enum cyaml_flag)(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL),
                  .data_size = 1,
                  .string = {.min = 0, .max = HR_OPTION_TEXT_MAX}},
    };
  }
  fields[count].key = NULL;
}

int hr_options_load_file(hr_settings *settings)
{
  char keys[HR_OPTIONS_MAX][HR_OPTION_NAME_MAX + 8];
  cyaml_schema_field_t fields[HR_OPTIONS_MAX + 1];
  make_schema(settings, keys, fields);
  cyaml_schema_value_t schema = {.type = CYAML_MAPPING,
                                 .flags = CYAML_FLAG_POINTER,
                                 .data_size = (uint32_t)(settings->count * sizeof(char *)),
                                 .mapping = {.fields = fields}};
  complaint said = {0};
  cyaml_config_t config = {
      .log_fn = note_complaint, .log_ctx = &said, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_WARNING};

  char *text = read_file(settings->config_path);
  if (!text)
    return HR_EXIT_CONFIG;
  char **texts = NULL;
  cyaml_err_t error =
      cyaml_load_data((const uint8_t *)text, strlen(text), &config, &schema, (cyaml_data_t **)&texts, NULL);
  int code = 0;
  if (error == CYAML_ERR_INVALID_KEY)
    code = unknown_key(settings, text, &said);
  else if (error != CYAML_OK || said.sentence[0]) /* a warning means that a part of the file would be ignored */
    code = file_error(settings, said.line ? said.line : 1,
                      said.sentence[0] ? said.sentence : "want lines of the form `key: value`", "");
  if (code == 0 && texts)
    code = keep_values(settings, text, texts);
  else if (texts)
    cyaml_free(&config, &schema, texts, 0);
  free(text);
  return code;
}

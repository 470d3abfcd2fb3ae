/* What the parts of the option parser share. */
#ifndef HR_OPTIONS_INTERNAL_H
#define HR_OPTIONS_INTERNAL_H

#include <stdio.h>

#include "options.h"

#define HR_OPTIONS_MAX 96u /* of one command, the common ones included */
#define HR_OPTION_NAME_MAX 48u
#define HR_OPTION_TEXT_MAX 4096u /* bytes of a value in a config file */

typedef enum hr_option_source { HR_FROM_DEFAULT, HR_FROM_FILE, HR_FROM_ENVIRONMENT, HR_FROM_FLAG } hr_option_source;

/* One option of one run: where it is stored and which text won. */
typedef struct hr_setting {
  const hr_option *option;
  void *values;     /* the struct that option->offset counts from */
  const char *text; /* NULL: nobody gave one and there is no default */
  hr_option_source source;
  int line; /* in the config file, if it came from there; 0: unknown */
} hr_setting;

typedef struct hr_settings {
  const hr_command *command;
  const char *config_path; /* NULL without --config */
  size_t count;
  hr_setting items[HR_OPTIONS_MAX];
} hr_settings;

/* The common options: --config, --help, --log-level, --print-config. */
typedef struct hr_common_values {
  const char *config;
  uint32_t log_level;
  bool print_config;
  bool help;
} hr_common_values;

/* Stores the text as the option's kind says. On failure writes what is wrong with the value into `why`. */
#define HR_WHY_BYTES 256u
bool hr_option_store(const hr_setting *setting, char why[HR_WHY_BYTES]);

/* --config, --print-config and --help act on one run: neither environment nor file can ask for them. */
bool hr_option_is_flag_only(const hr_option *option);

/* "cache-rows" as HOTROW_CACHE_ROWS and as cache_rows. `text` has room for HR_OPTION_NAME_MAX + 8. */
void hr_option_environment_name(const hr_option *option, char *text);
void hr_option_key(const hr_option *option, char *text);

/* Reads settings->config_path; a setting that it names takes the file's text unless something stronger gave one.
 * Returns 0, or the exit code after a line on stderr. */
int hr_options_load_file(hr_settings *settings);

/* The setting whose name is nearest to a word, of those that such a source can give; NULL if none is near. */
const hr_setting *hr_options_nearest(const hr_settings *settings, const char *word, hr_option_source source);

void hr_options_print_help(const hr_settings *settings, FILE *out);
void hr_options_print_config(const hr_settings *settings, FILE *out);

#endif

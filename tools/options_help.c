/* What the option table says to people: --help, --print-config and "did you mean". */
#include "options_internal.h"

#include <ctype.h>
#include <string.h>

#define HELP_COLUMN 30

void hr_option_environment_name(const hr_option *option, char *text)
{
  text += sprintf(text, "HOTROW_");
  for (const char *c = option->name; *c; c++)
    *text++ = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
  *text = 0;
}

void hr_option_key(const hr_option *option, char *text)
{
  for (const char *c = option->name; *c; c++)
    *text++ = *c == '-' ? '_' : *c;
  *text = 0;
}

static size_t smallest(size_t a, size_t b, size_t c)
{
  size_t least = a < b ? a : b;
  return least < c ? least : c;
}

/* Levenshtein's distance, with '-' and '_' alike. */
static size_t distance(const char *a, const char *b)
{
  size_t row[HR_OPTION_NAME_MAX + 1];
  size_t b_size = strnlen(b, HR_OPTION_NAME_MAX);
  for (size_t j = 0; j <= b_size; j++)
    row[j] = j;
  for (size_t i = 0; a[i]; i++) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 1; j <= b_size; j++) {
      bool same = a[i] == b[j - 1] || (a[i] == '_' && b[j - 1] == '-');
      size_t next = smallest(row[j] + 1, row[j - 1] + 1, diagonal + (same ? 0 : 1));
      diagonal = row[j];
      row[j] = next;
    }
  }
  return row[b_size];
}

const hr_setting *hr_options_nearest(const hr_settings *settings, const char *word, hr_option_source source)
{
  const hr_setting *nearest = NULL;
  size_t least = strlen(word) / 3 + 1;
  for (size_t i = 0; i < settings->count; i++) {
    if (source != HR_FROM_FLAG && hr_option_is_flag_only(settings->items[i].option))
      continue;
    size_t d = distance(word, settings->items[i].option->name);
    if (d <= least && (!nearest || d < least)) {
      nearest = &settings->items[i];
      least = d;
    }
  }
  return nearest;
}

static const char *placeholder(hr_option_kind kind)
{
  switch (kind) {
  case HR_OPTION_TEXT:
    return " TEXT";
  case HR_OPTION_U32:
  case HR_OPTION_U64:
  case HR_OPTION_I32:
    return " N";
  case HR_OPTION_FLOAT:
    return " X";
  case HR_OPTION_CHOICE:
    return " WORD";
  default:
    return "";
  }
}

static void print_option(const hr_option *option, FILE *out)
{
  char flag[HR_OPTION_NAME_MAX + 16], name[HR_OPTION_NAME_MAX + 8];
  snprintf(flag, sizeof flag, "--%s%s", option->name, placeholder(option->kind));
  fprintf(out, "  %-*s%s", HELP_COLUMN - 2, flag, option->help);
  if (option->kind == HR_OPTION_CHOICE) {
    fprintf(out, ":");
    for (size_t i = 0; option->choices[i]; i++)
      fprintf(out, " %s", option->choices[i]);
  }
  fputc('\n', out);
  if (hr_option_is_flag_only(option))
    return;
  hr_option_environment_name(option, name);
  fprintf(out, "%*s[%s", HELP_COLUMN, "", name);
  if (option->standard)
    fprintf(out, ", default %s", option->standard);
  fprintf(out, "]\n");
}

void hr_options_print_help(const hr_settings *settings, FILE *out)
{
  const hr_command *command = settings->command;
  fprintf(out, "hotrow %s: %s\n\n", command->name, command->summary);
  if (command->details)
    fprintf(out, "%s\n\n", command->details);
  fprintf(out, "options (flag, else environment variable, else key of the --config file, else default):\n");
  for (size_t i = 0; i < settings->count; i++)
    print_option(settings->items[i].option, out);
}

static void print_quoted(const char *text, FILE *out)
{
  fputc('"', out);
  for (; *text; text++) {
    if (*text == '"' || *text == '\\')
      fputc('\\', out);
    fputc(*text, out);
  }
  fputc('"', out);
}

/* What an option without a default stands at. */
static const char *zero_text(const hr_option *option)
{
  switch (option->kind) {
  case HR_OPTION_TEXT:
    return NULL;
  case HR_OPTION_BOOL:
    return "false";
  case HR_OPTION_CHOICE:
    return option->choices[0];
  default:
    return "0";
  }
}

void hr_options_print_config(const hr_settings *settings, FILE *out)
{
  static const char *const sources[] = {"default", "file", "environment", "flag"};
  for (size_t i = 0; i < settings->count; i++) {
    const hr_setting *setting = &settings->items[i];
    if (hr_option_is_flag_only(setting->option))
      continue;
    char key[HR_OPTION_NAME_MAX + 8];
    hr_option_key(setting->option, key);
    const char *text = setting->text ? setting->text : zero_text(setting->option);
    if (!text) {
      fprintf(out, "# %s: not set\n", key);
      continue;
    }
    fprintf(out, "%s: ", key);
    if (setting->option->kind == HR_OPTION_TEXT)
      print_quoted(text, out);
    else
      fputs(text, out);
    fprintf(out, "  # %s", sources[setting->source]);
    if (setting->source == HR_FROM_FILE)
      fprintf(out, " %s:%d", settings->config_path, setting->line);
    fputc('\n', out);
  }
}

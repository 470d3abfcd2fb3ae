#include "options_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <hotrow/base.h>

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

#define COMMON(field) offsetof(hr_common_values, field)
static const hr_option common_options[] = {
    {"config", HR_OPTION_TEXT, COMMON(config), NULL, 0, 0, NULL, "YAML file with any of these options"},
    {"log-level", HR_OPTION_CHOICE, COMMON(log_level), "info", 0, 0, log_levels, "what to log on stderr"},
    {"print-config", HR_OPTION_BOOL, COMMON(print_config), NULL, 0, 0, NULL,
     "print every value and where it comes from, as YAML, and exit"},
    {"help", HR_OPTION_BOOL, COMMON(help), NULL, 0, 0, NULL, "print this and exit"},
};
#define COMMON_COUNT (sizeof common_options / sizeof common_options[0])

static void log_line(hotrow_log_level level, const char *line, void *context)
{
  (void)context;
  fprintf(stderr, "%s: %s\n", log_levels[level], line);
}

static int usage_error(const hr_settings *settings, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int usage_error(const hr_settings *settings, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  fprintf(stderr, "hotrow %s: ", settings->command->name);
  vfprintf(stderr, format, args);
  fprintf(stderr, " (hotrow %s --help lists the options)\n", settings->command->name);
  va_end(args);
  return HR_EXIT_USAGE;
}

static void add_settings(hr_settings *settings, const hr_option *options, size_t count, void *values)
{
  for (size_t i = 0; i < count; i++) {
    assert(settings->count < HR_OPTIONS_MAX && strlen(options[i].name) < HR_OPTION_NAME_MAX);
    settings->items[settings->count++] =
        (hr_setting){.option = &options[i], .values = values, .text = options[i].standard};
  }
}

static hr_setting *find_setting(hr_settings *settings, const char *name, size_t name_size)
{
  for (size_t i = 0; i < settings->count; i++) {
    const char *candidate = settings->items[i].option->name;
    if (strlen(candidate) == name_size && memcmp(candidate, name, name_size) == 0)
      return &settings->items[i];
  }
  return NULL;
}

/* Takes --name value, --name=value or --name (bool) at argv[*i_p] and moves *i_p behind it. */
static int take_flag(hr_settings *settings, int argc, char **argv, int *i_p)
{
  const char *argument = argv[*i_p];
  if (strncmp(argument, "--", 2) != 0)
    return usage_error(settings, "unexpected word '%s'", argument);
  const char *name = argument + 2;
  size_t name_size = strcspn(name, "=");
  hr_setting *setting = find_setting(settings, name, name_size);
  if (!setting) {
    char word[HR_OPTION_NAME_MAX];
    snprintf(word, sizeof word, "%.*s", (int)name_size, name);
    const hr_setting *nearest = hr_options_nearest(settings, word, HR_FROM_FLAG);
    if (nearest)
      return usage_error(settings, "unknown option '--%s': did you mean --%s?", word, nearest->option->name);
    return usage_error(settings, "unknown option '--%s'", word);
  }
  if (name[name_size] == '=') {
    setting->text = name + name_size + 1;
  } else if (setting->option->kind == HR_OPTION_BOOL) {
    setting->text = "true";
  } else {
    if (*i_p + 1 >= argc || strncmp(argv[*i_p + 1], "--", 2) == 0)
      return usage_error(settings, "--%s needs a value", setting->option->name);
    setting->text = argv[++*i_p];
  }
  setting->source = HR_FROM_FLAG;
  ++*i_p;
  return 0;
}

static int take_flags(hr_settings *settings, int argc, char **argv, int *rest_p)
{
  int i = 1;
  while (i < argc && strcmp(argv[i], "--") != 0) {
    int code = take_flag(settings, argc, argv, &i);
    if (code != 0)
      return code;
  }
  int rest = i < argc ? i + 1 : argc;
  if (!rest_p && rest < argc)
    return usage_error(settings, "unexpected word '%s' after --", argv[rest]);
  if (rest_p)
    *rest_p = rest;
  return 0;
}

bool hr_option_is_flag_only(const hr_option *option)
{
  static const char *const names[] = {"config", "print-config", "help"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(option->name, names[i]) == 0)
      return true;
  return false;
}

static void take_environment(hr_settings *settings)
{
  for (size_t i = 0; i < settings->count; i++) {
    hr_setting *setting = &settings->items[i];
    if (setting->source == HR_FROM_FLAG || hr_option_is_flag_only(setting->option))
      continue;
    char name[HR_OPTION_NAME_MAX + 8];
    hr_option_environment_name(setting->option, name);
    const char *text = getenv(name);
    if (text) {
      setting->text = text;
      setting->source = HR_FROM_ENVIRONMENT;
    }
  }
}

/* Says where the bad text came from, in the words of that place. */
static int value_error(const hr_settings *settings, const hr_setting *setting, const char *why)
{
  char name[HR_OPTION_NAME_MAX + 8];
  if (setting->source != HR_FROM_FILE)
    fprintf(stderr, "hotrow %s: ", settings->command->name);
  switch (setting->source) {
  case HR_FROM_FLAG:
    fprintf(stderr, "--%s '%s': %s\n", setting->option->name, setting->text, why);
    return HR_EXIT_USAGE;
  case HR_FROM_ENVIRONMENT:
    hr_option_environment_name(setting->option, name);
    fprintf(stderr, "environment variable %s '%s': %s\n", name, setting->text, why);
    return HR_EXIT_CONFIG;
  case HR_FROM_FILE:
    hr_option_key(setting->option, name);
    fprintf(stderr, "%s:%d: %s '%s': %s\n", settings->config_path, setting->line, name, setting->text, why);
    return HR_EXIT_CONFIG;
  default:
    fprintf(stderr, "default of --%s '%s': %s\n", setting->option->name, setting->text, why);
    return HR_EXIT_SOFTWARE;
  }
}

static int store_all(const hr_settings *settings)
{
  char why[HR_WHY_BYTES];
  for (size_t i = 0; i < settings->count; i++)
    if (!hr_option_store(&settings->items[i], why))
      return value_error(settings, &settings->items[i], why);
  return 0;
}

int hr_options_parse(const hr_command *command, int argc, char **argv, void *values, int *rest_p)
{
  hr_common_values common = {0};
  hr_settings settings = {.command = command};
  add_settings(&settings, command->options, command->option_count, values);
  add_settings(&settings, common_options, COMMON_COUNT, &common);

  int code = take_flags(&settings, argc, argv, rest_p);
  if (code != 0)
    return code;
  const hr_setting *help = find_setting(&settings, "help", 4);
  if (help->source == HR_FROM_FLAG) {
    hr_options_print_help(&settings, stdout);
    return 0;
  }
  take_environment(&settings);
  settings.config_path = find_setting(&settings, "config", 6)->text;
  if (settings.config_path && (code = hr_options_load_file(&settings)) != 0)
    return code;
  if ((code = store_all(&settings)) != 0)
    return code;
  if (common.print_config) {
    hr_options_print_config(&settings, stdout);
    return 0;
  }
  hotrow_log_set(log_line, (hotrow_log_level)common.log_level, NULL);
  return -1;
}

int hr_exit_code(int status)
{
  switch (status) {
  case HOTROW_OK:
    return 0;
  case HOTROW_ERR_INVALID:
  case HOTROW_ERR_EXISTS:
  case HOTROW_ERR_LIMIT:
  case HOTROW_ERR_VERSION:
    return HR_EXIT_CONFIG;
  case HOTROW_ERR_NOT_FOUND:
  case HOTROW_ERR_CORRUPT:
    return HR_EXIT_DATA;
  case HOTROW_ERR_UNSUPPORTED:
  case HOTROW_ERR_TIMED_OUT:
  case HOTROW_ERR_UNREACHABLE:
  case HOTROW_ERR_PROTOCOL:
  case HOTROW_ERR_FENCED:
    return HR_EXIT_UNAVAILABLE;
  case HOTROW_ERR_BUSY:
  case HOTROW_ERR_RESET:
    return HR_EXIT_TEMPORARY;
  case HOTROW_ERR_NO_MEMORY:
  case HOTROW_ERR_DEVICE:
    return HR_EXIT_OS;
  case HOTROW_ERR_STORAGE:
    return HR_EXIT_IO;
  default:
    return HR_EXIT_SOFTWARE;
  }
}

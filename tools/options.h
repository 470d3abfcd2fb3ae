/* Options of a subcommand from one table: flag > environment (HOTROW_*) > --config file > default. */
#ifndef HR_TOOL_OPTIONS_H
#define HR_TOOL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum hr_option_kind {
  HR_OPTION_TEXT,  /* const char *; NULL if never set and without default */
  HR_OPTION_U32,   /* uint32_t */
  HR_OPTION_U64,   /* uint64_t; 10000000, 10e6, 4k, 8GiB */
  HR_OPTION_I32,   /* int32_t: as U32, or -1 for what the help says it means */
  HR_OPTION_FLOAT, /* float */
  HR_OPTION_BOOL,  /* bool; --name or --name=false */
  HR_OPTION_CHOICE /* uint32_t: index into choices */
} hr_option_kind;

/* One row: --cache-rows, HOTROW_CACHE_ROWS and cache_rows: in YAML are the same option. */
typedef struct hr_option {
  const char *name; /* with dashes, without the leading two */
  hr_option_kind kind;
  size_t offset;              /* in the subcommand's struct */
  const char *standard;       /* default, as text; NULL: zero */
  double minimum, maximum;    /* numbers: refused outside; both 0: any */
  const char *const *choices; /* CHOICE: NULL-terminated */
  const char *help;           /* one line, beginning in lower case */
} hr_option;

typedef struct hr_command {
  const char *name;    /* "serve" */
  const char *summary; /* one line */
  const char *details; /* more of --help, or NULL */
  const hr_option *options;
  size_t option_count;
} hr_command;

/* sysexits.h */
#define HR_EXIT_USAGE 64
#define HR_EXIT_DATA 65
#define HR_EXIT_UNAVAILABLE 69
#define HR_EXIT_SOFTWARE 70
#define HR_EXIT_OS 71
#define HR_EXIT_IO 74
#define HR_EXIT_TEMPORARY 75
#define HR_EXIT_CONFIG 78

/* Fills the struct at `values`. Returns -1 to go on, or the exit code to end with (0 after --help; HR_EXIT_USAGE for a
 * bad flag; HR_EXIT_CONFIG for a bad environment variable or config file, whose file and line are named on stderr).
 * Texts live until the program ends. Arguments after "--" are left: *rest_p is their index in argv (argc if none); a
 * command that takes none passes NULL, and then they are refused. --help and --print-config print and end with 0. */
int hr_options_parse(const hr_command *command, int argc, char **argv, void *values, int *rest_p);

/* Exit code of a failed hotrow call (sysexits). */
int hr_exit_code(int status);

#endif

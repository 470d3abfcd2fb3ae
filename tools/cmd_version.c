#include <stdio.h>

#include <hotrow/base.h>

#include "commands.h"
#include "options.h"

int hr_cmd_version(int argc, char **argv)
{
  static const hr_command command = {.name = "version", .summary = "print the version"};
  int code = hr_options_parse(&command, argc, argv, NULL, NULL);
  if (code >= 0)
    return code;
  printf("hotrow %s\n", hotrow_version());
  return 0;
}

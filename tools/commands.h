/* The subcommands: each parses its own arguments (argv[0] is its name) and returns the program's exit code. */
#ifndef HR_COMMANDS_H
#define HR_COMMANDS_H

int hr_cmd_serve(int argc, char **argv);
int hr_cmd_train(int argc, char **argv);
int hr_cmd_launch(int argc, char **argv);
int hr_cmd_top(int argc, char **argv);
int hr_cmd_bench(int argc, char **argv);
int hr_cmd_plot(int argc, char **argv);
int hr_cmd_version(int argc, char **argv);

#endif

/* The subcommands: each parses its own arguments (argv[0] is its name) and returns the program's exit code. */
#ifndef HR_COMMANDS_H
#define HR_COMMANDS_H

int hr_cmd_serve(int argc, char **argv);
int hr_cmd_train(int argc, char **argv);
int hr_cmd_launch(int argc, char **argv);
int hr_cmd_checkpoint(int argc, char **argv);
int hr_cmd_restore(int argc, char **argv);
int hr_cmd_inspect(int argc, char **argv);
int hr_cmd_verify(int argc, char **argv);
int hr_cmd_top(int argc, char **argv);
int hr_cmd_bench(int argc, char **argv);
int hr_cmd_plot(int argc, char **argv);
int hr_cmd_version(int argc, char **argv);

extern const char *const hr_durability_names[]; /* of hotrow_durability, in its order; NULL-terminated */

/* Takes the word after the command's name out of the arguments, or NULL: there is an option, or nothing. */
const char *hr_command_take_word(int *argc_p, char **argv);

#endif

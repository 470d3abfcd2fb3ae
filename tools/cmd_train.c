/* hotrow train: one rank of a training job, or all of them. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <hotrow/hotrow.h>

#include "commands.h"
#include "model.h"
#include "options.h"
#include "trainer.h"

/* Each list begins with what leaves the choice to --preset; the others are in the order of the API's values. */
static const char *const mode_names[] = {"preset", "probe", "announce", NULL};
static const char *const policy_names[] = {"preset", "lru", "lightlfu", "lfu", "w-tinylfu", NULL};
static const char *const dtype_names[] = {"preset", "f32", "f16", "i8", NULL};
static const char *const storage_names[] = {"f32", "f16", "bf16", NULL};
static const char *const ticks_names[] = {"preset", "steps", "occurrences", NULL};
static const char *const eviction_names[] = {"lru", "lfu", NULL};
static const char *const comm_names[] = {"auto", "ring", "nccl", NULL};
static const char *const preset_names[] = {"exact", "bounded", "het-compat", NULL};

#define AT(field) offsetof(hr_train_options, field)
#define CHECKPOINT_NAME_MAX 42u /* and 1 + 20 for -STEP */
#define PRESET "-1"             /* HR_PRESET: options of kind float cannot be absent */

static const hr_option options[] = {
    {"model", HR_OPTION_CHOICE, AT(model), "wdl", 0, 0, hr_model_names, "model to train"},
    {"device", HR_OPTION_TEXT, AT(device), "cpu", 0, 0, NULL,
     "where the dense layers are and compute: cpu, cuda, or cuda:1, that one of the machine's GPUs. With cuda the "
     "workers of\n"
     "a machine take them in turn"},
    {"local-rank", HR_OPTION_I32, AT(local_rank), "-1", 0, HOTROW_WORLD_MAX - 1, NULL,
     "which worker of its machine this is, for --device cuda; -1: as --rank"},
    {"data", HR_OPTION_TEXT, AT(data), NULL, 0, 0, NULL,
     "Criteo TSV or MovieLens ratings, plain, .gz or .xz; without it the built-in Criteo-shaped stream"},
    {"samples", HR_OPTION_U64, AT(samples), "1000000", 10, 0x1p40, NULL, "samples of the built-in stream, all splits"},
    {"shards", HR_OPTION_TEXT, AT(shards), NULL, 0, 0, NULL, "endpoints of the shards, in order, with commas between"},
    {"rank", HR_OPTION_U32, AT(rank), "0", 0, HOTROW_WORLD_MAX - 1, NULL, "which worker of the job this is"},
    {"workers", HR_OPTION_U32, AT(workers), "1", 1, HOTROW_WORLD_MAX, NULL, "workers of the job"},
    {"job", HR_OPTION_U64, AT(job), "0", 0, 0, NULL, "number of the job, the same for all its workers"},
    {"play-ranks", HR_OPTION_BOOL, AT(play_ranks), NULL, 0, 0, NULL,
     "be all workers in turn in this process: the same bits as as many processes when both bounds are 0"},
    {"dim", HR_OPTION_U32, AT(dim), "0", 0, HOTROW_DIM_MAX - 1, NULL, "floats of an embedding vector; 0: by data set"},
    {"hidden", HR_OPTION_TEXT, AT(hidden), NULL, 0, 0, NULL,
     "sizes of the hidden layers, such as 256,128; without it by data set"},
    {"bottom", HR_OPTION_TEXT, AT(bottom), NULL, 0, 0, NULL,
     "of dlrm: sizes of the hidden layers under the numeric values; without it by data set"},
    {"cross-layers", HR_OPTION_U32, AT(cross_layers), "3", 0, HR_CROSS_MAX, NULL, "of dcnv2: crossing layers"},
    {"cross-rank", HR_OPTION_U32, AT(cross_rank), "0", 0, 65536, NULL,
     "of dcnv2: rank of the matrices of crossing layers; 0: full"},
    {"cross-stacked", HR_OPTION_BOOL, AT(cross_stacked), NULL, 0, 0, NULL,
     "of dcnv2: hidden layers behind the crossing layers, not beside them"},
    {"batch", HR_OPTION_U32, AT(batch), "0", 0, 1 << 20, NULL, "samples per worker and step; 0: by data set"},
    {"epochs", HR_OPTION_U32, AT(epochs), "0", 0, 1e6, NULL, "passes over the training data; 0: by data set"},
    {"steps", HR_OPTION_U64, AT(steps), "0", 0, 0, NULL, "stop after so many steps; 0: no limit"},
    {"optimizer", HR_OPTION_CHOICE, AT(optimizer), "adagrad", 0, 0, hr_train_optimizer_names,
     "optimizer of the embedding rows; the dense layers use Adam"},
    {"weight-decay", HR_OPTION_FLOAT, AT(weight_decay), "0", 0, 1000, NULL, "of adamw and lamb; of ftrl: its l2"},
    {"l1", HR_OPTION_FLOAT, AT(l1), "0", 0, 1000, NULL, "of ftrl"},
    {"lr", HR_OPTION_FLOAT, AT(lr), PRESET, -1, 1000, NULL, "learning rate of the rows; -1: by data set"},
    {"dense-lr", HR_OPTION_FLOAT, AT(dense_lr), PRESET, -1, 1000, NULL,
     "learning rate of the dense layers; -1: by data set"},
    {"lr-decay", HR_OPTION_FLOAT, AT(lr_decay), "1", 0, 1, NULL,
     "both learning rates fall to this share of themselves, in a straight line over the job"},
    {"accumulator", HR_OPTION_FLOAT, AT(accumulator), PRESET, -1, 1e6, NULL,
     "what a new row's Adagrad sums begin at, in squared gradients of one sample; -1: by data set"},
    {"init-scale", HR_OPTION_FLOAT, AT(init_scale), PRESET, -1, 1000, NULL,
     "new rows are uniform between - and + this; -1: by data set"},
    {"storage-dtype", HR_OPTION_CHOICE, AT(storage_dtype), "f32", 0, 0, storage_names,
     "of row values in the memory of shards; the optimizer's state is f32"},
    {"dropout", HR_OPTION_FLOAT, AT(dropout), PRESET, -1, 0.99, NULL,
     "share of hidden values dropped in training; -1: by data set"},
    {"embedding-dropout", HR_OPTION_FLOAT, AT(embedding_dropout), PRESET, -1, 0.99, NULL,
     "share of fields hidden from the hidden layers in training; -1: by data set"},
    {"l2", HR_OPTION_FLOAT, AT(l2), PRESET, -1, 1000, NULL, "penalty on the squares of rows in use; -1: by data set"},
    {"evaluations", HR_OPTION_U32, AT(evaluations), "4", 0, 10000, NULL,
     "evaluations per epoch; 0: one at the end of the job"},
    {"patience", HR_OPTION_U32, AT(patience), "0", 0, 10000, NULL,
     "stop after so many evaluations without a better validation AUC; 0: never"},
    {"cache-rows", HR_OPTION_U64, AT(cache_rows), "0", 0, 0, NULL, "rows in the worker's cache; 0: no cache"},
    {"preset", HR_OPTION_CHOICE, AT(preset), "exact", 0, 0, preset_names,
     "staleness, as a whole; the next seven options change parts of it. het-compat goes with sgd, adagrad, "
     "rowwise-adagrad and ftrl"},
    {"mode", HR_OPTION_CHOICE, AT(mode), "preset", 0, 0, mode_names, "how workers know that a cached row is too old"},
    {"pull-bound", HR_OPTION_I32, AT(pull_bound), "-1", 0, 1e9, NULL,
     "updates of other workers that a row may lack when it is read; -1: by preset"},
    {"push-bound", HR_OPTION_I32, AT(push_bound), "-1", 0, HOTROW_PUSH_BOUND_MAX, NULL,
     "own steps that a row may keep back; -1: by preset"},
    {"announce-step", HR_OPTION_I32, AT(announce_step), "-1", 0, 1e9, NULL,
     "updates after which a shard announces a row; 0: by the pull bound; -1: by preset"},
    {"cache-policy", HR_OPTION_CHOICE, AT(cache_policy), "preset", 0, 0, policy_names, "which rows the cache keeps"},
    {"wire-dtype", HR_OPTION_CHOICE, AT(wire_dtype), "preset", 0, 0, dtype_names,
     "of values and gradients on the wire"},
    {"ticks", HR_OPTION_CHOICE, AT(ticks), "preset", 0, 0, ticks_names,
     "what the bounds count: steps on a row, or occurrences of its key in the batches of steps"},
    {"admit-count", HR_OPTION_U32, AT(admit_count), "0", 0, 65535, NULL,
     "a key gets a row with this push of it to its shard; until then its gradients are dropped. 0: with its first use"},
    {"admit-probability", HR_OPTION_FLOAT, AT(admit_probability), "0", 0, 1, NULL,
     "each push of a key without a row gives it one so probable; 0: with its first use. Not with --admit-count"},
    {"steps-to-live", HR_OPTION_U32, AT(steps_to_live), "0", 0, 1e9, NULL,
     "rows go that were not pushed to in so many steps; 0: none"},
    {"l2-weight-threshold", HR_OPTION_FLOAT, AT(l2_weight_threshold), "0", 0, 1e9, NULL,
     "with --steps-to-live: only rows whose norm is below this go; 0: all"},
    {"row-count-max", HR_OPTION_U64, AT(row_count_max), "0", 0, 0x1p42, NULL,
     "rows that the shards hold together: those used least make room. Not with both bounds 0. 0: no limit"},
    {"eviction", HR_OPTION_CHOICE, AT(eviction), "lru", 0, 0, eviction_names,
     "with --row-count-max: rows go that were pushed to longest ago (lru), or least often (lfu)"},
    {"lookahead", HR_OPTION_U32, AT(lookahead), "2", 0, HOTROW_LOOKAHEAD_MAX, NULL,
     "batches whose keys the cache knows ahead: their rows come early and stay"},
    {"seed", HR_OPTION_U64, AT(seed), "1", 0, 0, NULL, "of first values, shuffles and dropout"},
    {"comm", HR_OPTION_CHOICE, AT(comm), "auto", 0, 0, comm_names,
     "what adds up dense gradients among workers; nccl where they are on a GPU, auto: nccl there if it is installed"},
    {"timeout-ms", HR_OPTION_U32, AT(timeout_ms), "30000", 1, 86400000, NULL, "deadline of every call"},
    {"save", HR_OPTION_TEXT, AT(save), NULL, 0, 0, NULL, "have the shards save their rows under this name at the end"},
    {"checkpoint", HR_OPTION_TEXT, AT(checkpoint), NULL, 0, 0, NULL,
     "with --every: have the shards make checkpoints of this name and -STEP, to --resume from"},
    {"every", HR_OPTION_U64, AT(every), "0", 0, 0, NULL, "with --checkpoint: steps from one to the next"},
    {"keep", HR_OPTION_U32, AT(keep), "3", 0, HOTROW_CHECKPOINT_KEEP_MAX, NULL,
     "with --checkpoint: how many of that name stay; 0: all"},
    {"resume", HR_OPTION_BOOL, AT(resume), NULL, 0, 0, NULL,
     "go on from the checkpoint that the shards were started from (serve --load)"},
    {"dump", HR_OPTION_TEXT, AT(dump), NULL, 0, 0, NULL,
     "write dense parameters and rows to this file at the end (rank 0)"},
    {"report", HR_OPTION_TEXT, AT(report), NULL, 0, 0, NULL,
     "write the run with plots to this HTML file at the end (rank 0)"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "print the result as one JSON object"},
};

static const hr_command command = {
    .name = "train",
    .summary = "train a click model on a parameter server",
    .details = "Prints progress on stderr and the result on stdout (rank 0). \"By data set\" means the settings in\n"
               "tools/train/presets.c. The result is the test score at the evaluation with the best validation AUC.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
};

static int refuse(const char *sentence)
{
  fprintf(stderr, "hotrow train: %s\n", sentence);
  return HR_EXIT_USAGE;
}

/* The name of a float below 0 that is not HR_PRESET, or NULL. */
static const char *find_negative(const hr_train_options *values)
{
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    if (options[i].kind != HR_OPTION_FLOAT)
      continue;
    const float value = *(const float *)(const void *)((const char *)values + options[i].offset);
    if (value < 0 && value != HR_PRESET)
      return options[i].name;
  }
  return NULL;
}

int hr_cmd_train(int argc, char **argv)
{
  hr_train_options values = {0};
  int rest;
  const int exit_code = hr_options_parse(&command, argc, argv, &values, &rest);
  if (exit_code >= 0)
    return exit_code;
  if (rest < argc)
    return refuse("takes options only");
  if (values.shards == NULL)
    return refuse("--shards is missing: the endpoints of the parameter server (hotrow launch sets them)");
  const char *negative = find_negative(&values);
  if (negative != NULL) {
    fprintf(stderr, "hotrow train: --%s is below 0 and not -1, which means: by data set\n", negative);
    return HR_EXIT_USAGE;
  }
  if (values.rank >= values.workers)
    return refuse("--rank must be below --workers");
  if ((values.checkpoint != NULL) != (values.every > 0))
    return refuse("--checkpoint and --every go together");
  if (values.checkpoint != NULL && strlen(values.checkpoint) > CHECKPOINT_NAME_MAX)
    return refuse("--checkpoint takes a name of at most 42 characters, for -STEP to be added");
  if (values.play_ranks && values.workers > HR_PLAYED_RANKS_MAX)
    return refuse("--play-ranks plays at most 64 workers");
  const hotrow_status status = hr_train(&values);
  if (status == HOTROW_OK)
    return 0;
  const char *sentence = hotrow_last_error();
  fprintf(stderr, "hotrow train: rank %u: %s: %s\n", values.rank, hotrow_status_text(status),
          *sentence != '\0' ? sentence : "no more is known");
  return hr_exit_code(status);
}

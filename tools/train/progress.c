#include "progress.h"

#include <stdio.h>
#include <unistd.h>

#include <hr/clock.h>

#define TERMINAL_INTERVAL_NS 200000000u
#define LOG_INTERVAL_NS 5000000000u
#define LOG_FIRST_NS 1000000000u /* the first line comes early: it says that the job goes */
#define BAR_CELLS 20

void hr_progress_init(hr_progress *progress, const hr_trainer *trainer)
{
  *progress = (hr_progress){.is_shown = trainer->ranks[0].rank == 0,
                            .is_terminal = isatty(STDERR_FILENO) == 1,
                            .shown_ns = hr_now_ns(),
                            .shown_step = trainer->step};
}

static double ratio(uint64_t part, uint64_t whole)
{
  return whole > 0 ? (double)part / (double)whole : 0;
}

static uint64_t interval_ns(const hr_progress *progress)
{
  if (progress->is_terminal)
    return TERMINAL_INTERVAL_NS;
  return progress->has_shown ? LOG_INTERVAL_NS : LOG_FIRST_NS;
}

/* "[=======>            ]  37%" on a terminal; the number alone in a log. */
static void print_share(bool is_terminal, double share)
{
  int filled = (int)(share * BAR_CELLS);
  if (is_terminal)
    fprintf(stderr, " [%.*s%s%*s]", filled, "====================", filled < BAR_CELLS ? ">" : "",
            filled < BAR_CELLS ? BAR_CELLS - filled - 1 : 0, "");
  fprintf(stderr, " %3.0f%%", 100 * share);
}

void hr_progress_step(hr_progress *progress, const hr_trainer *trainer, uint64_t done, uint64_t total)
{
  const uint64_t now = hr_now_ns(), elapsed_ns = now - progress->shown_ns;
  if (!progress->is_shown || elapsed_ns < interval_ns(progress))
    return;
  const uint64_t batch = trainer->options.batch;
  const uint64_t samples = (trainer->step - progress->shown_step) * batch * trainer->options.workers;
  hotrow_client_stats stats; /* of rank 0: it stands for the others until the report adds up all */
  hotrow_client_get_stats(trainer->ranks[0].client, &stats);
  fprintf(stderr, "%sepoch %u/%u", progress->is_terminal ? "\r" : "", trainer->epoch + 1, trainer->options.epochs);
  print_share(progress->is_terminal, ratio(done, total));
  fprintf(stderr, "  %.0f samples/s  loss %.4f", (double)samples / ((double)elapsed_ns / 1e9),
          trainer->epoch_loss / (double)trainer->epoch_samples);
  if (trainer->evaluation_count > 0)
    fprintf(stderr, "  valid auc %.4f", trainer->valid.auc);
  fprintf(stderr, "  hits %.1f%%  %.0f bytes/sample  unseen %llu%s",
          100 * ratio(stats.hits > stats.lookahead_hits ? stats.hits - stats.lookahead_hits : 0,
                      stats.hits + stats.stale + stats.misses),
          ratio(stats.bytes_sent + stats.bytes_received, (trainer->step - trainer->first_step) * batch),
          (unsigned long long)stats.unseen_max, progress->is_terminal ? "\033[K" : "\n");
  fflush(stderr);
  progress->is_line_open = progress->is_terminal;
  progress->has_shown = true;
  progress->shown_ns = now;
  progress->shown_step = trainer->step;
}

/* Takes the bar away: what is printed next stands above the next bar. */
static void clear_line(hr_progress *progress)
{
  if (progress->is_line_open)
    fputs("\r\033[K", stderr);
  progress->is_line_open = false;
}

void hr_progress_evaluation(hr_progress *progress, const hr_trainer *trainer, const hr_score *valid,
                            const hr_score *test)
{
  if (!progress->is_shown)
    return;
  clear_line(progress);
  fprintf(stderr, "step %llu  valid auc %.4f logloss %.4f  test auc %.4f logloss %.4f%s\n",
          (unsigned long long)trainer->step, valid->auc, valid->logloss, test->auc, test->logloss,
          trainer->worse_count == 0 ? "  best" : "");
  progress->shown_ns = hr_now_ns();
  progress->shown_step = trainer->step;
}

void hr_progress_end(hr_progress *progress)
{
  clear_line(progress);
}

/* Programs that a GPU would let run on, to a wrong result or to none: the emulator ends them. Each runs in a process of
 * its own. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emulator_kernels.h"
#include "hr_test.h"

#define SAID_BYTES 4000u

/* Runs `program`, which is stopped, or dies of touching what it may not touch, with these words. */
static void dies(void (*program)(void), const char *name, bool is_stopped, const char *words)
{
  int pipe_ends[2];
  CHECK(pipe(pipe_ends) == 0);
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(pipe_ends[1], STDERR_FILENO);
    program();
    _exit(0);
  }
  close(pipe_ends[1]);
  char said[SAID_BYTES + 1];
  size_t size = 0;
  for (ssize_t got; size < SAID_BYTES && (got = read(pipe_ends[0], said + size, SAID_BYTES - size)) > 0;)
    size += (size_t)got;
  said[size] = '\0';
  close(pipe_ends[0]);
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  bool has_report = strstr(said, "AddressSanitizer"); /* in words of its own */
  bool is_so = WIFSIGNALED(status) && WTERMSIG(status) == (is_stopped ? SIGABRT : SIGSEGV);
  CHECK_MSG(is_so || (!is_stopped && has_report), "%s: wait status %x, said \"%s\"", name, status, said);
  CHECK_MSG(has_report || strstr(said, words), "%s: \"%s\" expected, said \"%s\"", name, words, said);
}
#define DIES(program, words) dies(program, #program, true, words)
#define TOUCHES(program, words) dies(program, #program, false, words)

static void run(void)
{
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

#define MISTAKE(name, what)                                                                                            \
  static void name(void)                                                                                               \
  {                                                                                                                    \
    launch_mistake(what, NULL);                                                                                        \
    run();                                                                                                             \
  }
MISTAKE(a_mask_leaves_the_lane_out, MASK_WITHOUT_ITSELF)
MISTAKE(masks_differ, MASKS_DIFFER)
MISTAKE(collectives_differ, COLLECTIVES_DIFFER)
MISTAKE(a_lane_returns, LANE_RETURNS)
MISTAKE(a_barrier_in_a_branch, BARRIER_IN_A_BRANCH)
MISTAKE(a_barrier_and_a_collective, BARRIER_AND_COLLECTIVE)
MISTAKE(a_shuffle_from_outside, SHUFFLE_FROM_OUTSIDE)
MISTAKE(a_mask_beyond_the_block, MASK_BEYOND_THE_BLOCK)

static void *memory_of(size_t size_bytes)
{
  void *memory = NULL;
  CHECK(cudaMalloc(&memory, size_bytes) == cudaSuccess);
  return memory;
}

static void lanes_that_do_not_meet(void)
{
  DIES(a_mask_leaves_the_lane_out, "lane 7: __syncwarp with mask 0000000f, which leaves the lane out");
  DIES(masks_differ, "in __syncwarp");
  DIES(collectives_differ, "meets lane");
  DIES(a_lane_returns, "for lane 9, which has returned");
  DIES(a_barrier_in_a_branch, "waits in __syncthreads for lane");
  DIES(a_barrier_and_a_collective, "make_mistake, block 0: lane");
  DIES(a_shuffle_from_outside, "reads lane 8 in __shfl_sync, which its mask 000000ff leaves out");
  DIES(a_mask_beyond_the_block, "with mask ffffffff in a warp of 16 lanes");
}

static void too_many_threads(void)
{
  launch_nothing(1, 1025, 0, NULL);
}

static void no_blocks(void)
{
  launch_nothing(0, 32, 0, NULL);
}

static void too_much_shared_memory(void)
{
  launch_nothing(1, 32, 49153, NULL);
}

static void launches_that_are_too_large(void)
{
  launch_nothing(1, 1024, 49152, NULL);
  run();
  DIES(too_many_threads, "nothing is launched with blocks of 1025 x 1 x 1 threads");
  DIES(no_blocks, "a grid of 0 x 1 x 1 blocks");
  DIES(too_much_shared_memory, "49153 bytes of shared memory and may have 49152");
}

static void the_host_reads_device_memory(void)
{
  volatile uint32_t *memory = memory_of(64);
  (void)*memory;
}

static void the_host_reads_after_a_kernel(void)
{
  volatile uint32_t *memory = memory_of(64);
  launch_add((uint32_t *)memory, 1, NULL);
  run();
  (void)*memory;
}

static void a_kernel_gets_host_memory(void)
{
  uint32_t word = 0;
  launch_add(&word, 1, NULL);
}

#if __has_builtin(__builtin_clear_padding) /* what the check needs */
static void a_kernel_gets_host_memory_in_a_structure(void)
{
  uint32_t word = 0;
  launch_add_of(&word, 1, NULL);
}
#endif

static void a_kernel_writes_behind(void)
{
  uint8_t *memory = memory_of(100);
  launch_poke(memory, 100, NULL);
  cudaFree(memory);
}

static void a_kernel_writes_far_behind(void)
{
  launch_poke(memory_of(100), 256, NULL);
  run();
}

static void a_kernel_writes_into_freed_memory(void)
{
  uint8_t *memory = memory_of((size_t)1 << 22), *kept = memory_of(8);
  cudaFree(memory);
  uint8_t *again = memory_of((size_t)1 << 22);
  launch_poke(kept, (size_t)(memory - kept), NULL);
  run();
  cudaFree(again);
}

static void a_kernel_writes_behind_shared_memory(void)
{
  launch_poke_shared(8, 8, NULL);
  run();
}

static void memory_that_is_out_of_reach(void)
{
  TOUCHES(the_host_reads_device_memory, "emulated GPU: 0x");
  TOUCHES(the_host_reads_after_a_kernel, "is touched: device memory, on the host");
  DIES(a_kernel_gets_host_memory, "which is neither device memory nor pinned");
#if __has_builtin(__builtin_clear_padding)
  DIES(a_kernel_gets_host_memory_in_a_structure, "at byte 8 of a structure, which is neither device memory nor pinned");
#endif
  launch_add_of(memory_of(sizeof(uint32_t)), 1, NULL);
  run();
#if defined(__SANITIZE_ADDRESS__)
  TOUCHES(a_kernel_writes_behind, "");
#else
  DIES(a_kernel_writes_behind, "byte 0 behind 100 bytes");
#endif
  TOUCHES(a_kernel_writes_far_behind, "kernel poke, block 0, lane 0: 0x");
  TOUCHES(a_kernel_writes_into_freed_memory, "is touched: memory that is freed");
  TOUCHES(a_kernel_writes_behind_shared_memory, "");
}

static void a_copy_past_the_end(void)
{
  char bytes[101] = {0};
  cudaMemcpy(memory_of(100), bytes, sizeof bytes, cudaMemcpyHostToDevice);
}

static void a_copy_the_wrong_way(void)
{
  char bytes[100] = {0};
  cudaMemcpy(memory_of(100), bytes, sizeof bytes, cudaMemcpyDeviceToHost);
}

static void freed_twice(void)
{
  void *memory = memory_of(100);
  cudaFree(memory);
  cudaFree(memory);
}

static void pinned_freed_as_device_memory(void)
{
  void *memory;
  CHECK(cudaMallocHost(&memory, 100) == cudaSuccess);
  cudaFree(memory);
}

static void a_stream_that_is_gone(void)
{
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream) == cudaSuccess);
  cudaStreamDestroy(stream);
  launch_nothing(1, 1, 0, stream);
}

static void calls_with_the_wrong_thing(void)
{
  DIES(a_copy_past_the_end, "copy to: 101 bytes at");
  DIES(a_copy_the_wrong_way, "of kind 1, called 2");
  DIES(freed_twice, "is freed and was not allocated so");
  DIES(pinned_freed_as_device_memory, "is freed and was not allocated so");
  DIES(a_stream_that_is_gone, "is no stream");
}

int main(void)
{
  RUN(lanes_that_do_not_meet);
  RUN(launches_that_are_too_large);
  RUN(memory_that_is_out_of_reach);
  RUN(calls_with_the_wrong_thing);
  return 0;
}

/* Fibres: six registers and a stack pointer change places. Where this file does not know the machine, ucontext does it
 * with two system calls. The address sanitizer is told, or it would take another stack for an overflow. */
#include <pthread.h>
#include <stdlib.h>

#include <hr/assert.h>

#include "emulator.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define LEAVE(from, to) __sanitizer_start_switch_fiber(&(from)->shadow, (to)->stack, (to)->stack_bytes)
#define ARRIVE(fibre) __sanitizer_finish_switch_fiber((fibre)->shadow, NULL, NULL)
#define BEGIN() __sanitizer_finish_switch_fiber(NULL, NULL, NULL)
#else
#define LEAVE(from, to) ((void)0)
#define ARRIVE(fibre) ((void)0)
#define BEGIN() ((void)0)
#endif

static void (*fibre_entry)(void);

static void begin(void)
{
  BEGIN();
  fibre_entry();
  abort(); /* an entry does not return */
}

#if defined(__x86_64__)
void hr_fibre_swap(void **from_p, void *to);
__asm__(".text\n"
        ".hidden hr_fibre_swap\n"
        ".globl hr_fibre_swap\n"
        ".type hr_fibre_swap, @function\n"
        "hr_fibre_swap:\n"
        "  pushq %rbp\n"
        "  pushq %rbx\n"
        "  pushq %r12\n"
        "  pushq %r13\n"
        "  pushq %r14\n"
        "  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n"
        "  popq %r14\n"
        "  popq %r13\n"
        "  popq %r12\n"
        "  popq %rbx\n"
        "  popq %rbp\n"
        "  ret\n"
        ".size hr_fibre_swap, .-hr_fibre_swap\n");

void hr_fibre_init(hr_fibre *fibre, void *stack, size_t stack_bytes, void (*entry)(void))
{
  HOTROW_ASSERT(stack_bytes % 16 == 0 && (uintptr_t)stack % 16 == 0);
  fibre_entry = entry;
  uintptr_t *top = (uintptr_t *)((char *)stack + stack_bytes);
  *--top = 0;                /* where begin() would return to: the stack is aligned as after a call */
  *--top = (uintptr_t)begin; /* where the first swap returns to */
  for (int saved = 0; saved < 6; saved++)
    *--top = 0;
  *fibre = (hr_fibre){.place = top, .stack = stack, .stack_bytes = stack_bytes};
}

static void swap(hr_fibre *from, hr_fibre *to)
{
  hr_fibre_swap(&from->place, to->place);
}
#else
#include <ucontext.h>

void hr_fibre_init(hr_fibre *fibre, void *stack, size_t stack_bytes, void (*entry)(void))
{
  fibre_entry = entry;
  ucontext_t *context = malloc(sizeof *context);
  if (!context || getcontext(context) != 0)
    hr_emulator_stop("no memory for a fibre");
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = stack_bytes;
  context->uc_link = NULL;
  makecontext(context, begin, 0);
  *fibre = (hr_fibre){.place = context, .stack = stack, .stack_bytes = stack_bytes};
}

static void swap(hr_fibre *from, hr_fibre *to)
{
  ucontext_t here;
  if (!from->place)
    from->place = &here; /* a thread's own stack: it is swapped out in one call only */
  bool is_thread = from->place == &here;
  swapcontext(from->place, to->place);
  if (is_thread)
    from->place = NULL;
}
#endif

void hr_fibre_of_thread(hr_fibre *fibre)
{
  *fibre = (hr_fibre){0};
#if defined(__SANITIZE_ADDRESS__)
  static _Thread_local void *stack; /* asking for it reads a file */
  static _Thread_local size_t stack_bytes;
  pthread_attr_t attributes;
  if (!stack && pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &stack, &stack_bytes);
    pthread_attr_destroy(&attributes);
  }
  fibre->stack = stack;
  fibre->stack_bytes = stack_bytes;
#endif
}

void hr_fibre_switch(hr_fibre *from, hr_fibre *to)
{
  LEAVE(from, to);
  swap(from, to);
  ARRIVE(from);
}

// prefill.cu as a shared library for the CPU, whose `launch` stands in ../gpu/emulator.h; `first` says which kernel.
#include "prefill.cu"

static void emulated(void *plan, u32 first, u32 last) {
  (void)last;
  if (first == 0) attend_floats(*(const AttentionPlan *)plan);
  if (first == 1) attend_halves(*(const AttentionPlan *)plan);
  if (first == 2) gate_rows(*(const GatePlan *)plan);
}

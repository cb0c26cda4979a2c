// decode.cu as a shared library for the CPU, whose `launch` stands in emulator.h.
#include "decode.cu"

static void emulated(void *plan, u32 first, u32 last) { decode_token(plan, first, last); }

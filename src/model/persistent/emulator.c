// decode.cu as a shared library for the CPU: `launch` and one product for the tests.
#include "decode.cu"

static void emulated(void *plan, u32 first, u32 last) { decode_token(plan, first, last); }

/* Runs one image on a bare Cortex-M4. Prints three lines: the ticks of the timer during LOOPS times two instructions,
   the logits, and the ticks during each step. */
#include "model.h"
#include "image.h"

#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)

#define LOOPS 100000

static uint32_t last, number, before[QNAS_STEPS + 1];

static int call(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void print(int32_t value, char end)
{
    char text[14], *at = text + sizeof(text);
    uint32_t rest = value < 0 ? 0 - (uint32_t)value : (uint32_t)value;

    *--at = 0;
    *--at = end;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--at = '-';
    call(4, at);
}

/* What the timer, which counts down in 24 bits, has counted since it was asked last. */
static uint32_t elapsed(void)
{
    uint32_t now = SYST_CVR, ticks = (last - now) & 0xFFFFFF;

    last = now;
    return ticks;
}

void qnas_step(void)
{
    before[number++] = elapsed();
}

void start(void)
{
    static int32_t logits[QNAS_CLASSES];
    int i;

    SYST_RVR = 0xFFFFFF;
    SYST_CVR = 0;
    SYST_CSR = 5;
    last = SYST_CVR;
    i = LOOPS;
    __asm__ volatile("1: subs %0, #1\n bne 1b" : "+r"(i) : : "cc");
    print((int32_t)elapsed(), '\n');
    elapsed();
    qnas_classify(pixels, logits);
    qnas_step();
    for (i = 0; i < QNAS_CLASSES; i++)
        print(logits[i], i + 1 < QNAS_CLASSES ? ' ' : '\n');
    for (i = 1; i <= QNAS_STEPS; i++)
        print((int32_t)before[i], i < QNAS_STEPS ? ' ' : '\n');
    call(0x18, (void *)0x20026);
    for (;;)
        ;
}

extern char stack;
__attribute__((section(".vectors"), used)) static const void *const vectors[] = {&stack, (void *)start};

/* Reads images from stdin, raw bytes as model.h says, one after another, and prints the class and the logits of each:

   cc -std=c99 -O3 model.c main.c -o classify && ./classify < images.raw */
#include <stdio.h>

#include "model.h"

int main(void)
{
    static uint8_t pixels[QNAS_IMAGE_BYTES];
    static int32_t logits[QNAS_CLASSES];
    size_t got;
    int i;

    while ((got = fread(pixels, 1, sizeof(pixels), stdin)) == sizeof(pixels)) {
        printf("%d", qnas_classify(pixels, logits));
        for (i = 0; i < QNAS_CLASSES; i++)
            printf(" %ld", (long)logits[i]);
        printf("\n");
    }
    if (got)
        fprintf(stderr, "the last image has %lu bytes instead of %lu\n", (unsigned long)got,
                (unsigned long)sizeof(pixels));
    return got ? 1 : 0;
}

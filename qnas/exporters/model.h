/* A quantized network in integers alone, written by qnas.

   Compile for this machine: cc -std=c99 -O3 model.c main.c -o classify
   and for a Cortex-M4:      arm-none-eabi-gcc -std=c99 -O2 -mcpu=cortex-m4 -mthumb -c model.c
   -DQNAS_MAX_ARENA_BYTES=65536 makes the compiler refuse a network whose memory is larger.

   It needs no library, no allocation and no floating point; QNAS_CONSTANT_BYTES of constants beside its code, and
   QNAS_ARENA_BYTES of static memory, which holds the values between layers. It is not reentrant. */
#ifndef QNAS_MODEL_H
#define QNAS_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define QNAS_HEIGHT @height@
#define QNAS_WIDTH @width@
#define QNAS_CHANNELS @channels@
#define QNAS_IMAGE_BYTES (QNAS_HEIGHT * QNAS_WIDTH * QNAS_CHANNELS)
#define QNAS_CLASSES @classes@
#define QNAS_ARENA_BYTES @arena@
#define QNAS_CONSTANT_BYTES @constants@

/* The class of an image, from 0 on.

   pixels: QNAS_IMAGE_BYTES as stored, not normalised: row after row, pixel after pixel, and of a pixel one channel
           after another (red, green, blue).
   logits: QNAS_CLASSES whole numbers, written; times @scale@ they are the network's logits. */
int qnas_classify(const uint8_t *pixels, int32_t *logits);

#endif

/* == types == */
/* A value of the network, of `channels` a pixel, pixel after pixel, row after row, each row from a whole byte on.
   An integer less `zero` is a whole number of steps. The image alone has a table: 256 integers a channel. */
typedef struct {
    uint32_t offset;
    uint16_t height, width, channels;
    uint8_t bits, highest, zero;
    const uint8_t *table;
} tensor;

/* How a layer computes: an output is ((sum * multiplier >> shift) + bias) >> point. Where all multipliers are 2^30 there
   are none. */
typedef struct {
    uint32_t scratch;
    uint8_t kernel, stride, dilation, point;
    uint8_t bits, zero;
    const uint8_t *weights;
    const int32_t *multiplier;
    const uint8_t *shift;
    const int32_t *bias;
} layer;

static int16_t arena[QNAS_ARENA_BYTES / 2];
static const uint8_t *image;

#define QNAS_STATIC_ASSERT(name, condition) typedef char qnas_##name[(condition) ? 1 : -1]
QNAS_STATIC_ASSERT(int_has_32_bits, sizeof(int) >= 4);
QNAS_STATIC_ASSERT(shifts_keep_signs, (-5 >> 1) == -3);
QNAS_STATIC_ASSERT(arena_is_as_large_as_said, sizeof(arena) == QNAS_ARENA_BYTES);
#ifdef QNAS_MAX_ARENA_BYTES
QNAS_STATIC_ASSERT(arena_fits, QNAS_ARENA_BYTES <= QNAS_MAX_ARENA_BYTES);
#endif
#ifndef QNAS_STEP
#define QNAS_STEP(number) /* before each step, for profiling */
#endif

/* == rescaled: types == */
static int32_t rescaled(int32_t sum, const layer *by, int which)
{
    return (int32_t)((int64_t)sum * (by->multiplier ? by->multiplier[which] : 1 << 30) >> by->shift[which]);
}

/* == clamped: types == */
static uint8_t clamped(int32_t value, int highest)
{
    return (uint8_t)(value < 0 ? 0 : value > highest ? highest : value);
}

/* == decode: types == */
/* Integers of 8, 4 or 2 bits, the first in the lowest bits of a byte, less their zero point. */
static void decode(const uint8_t *from, int start, int count, int bits, int zero, int16_t *restrict to)
{
    const int each = 8 / bits, mask = (1 << bits) - 1;
    int i, bytes;

    for (; count > 0 && start % each; start++, count--)
        *to++ = (int16_t)((from[start / each] >> bits * (start % each) & mask) - zero);
    from += start / each;
    bytes = count / each;
    if (bits == 8) {
        for (i = 0; i < bytes; i++)
            to[i] = (int16_t)(from[i] - zero);
    } else if (bits == 4) {
        for (i = 0; i < bytes; i++) {
            to[2 * i] = (int16_t)((from[i] & 15) - zero);
            to[2 * i + 1] = (int16_t)((from[i] >> 4) - zero);
        }
    } else {
        for (i = 0; i < bytes; i++) {
            to[4 * i] = (int16_t)((from[i] & 3) - zero);
            to[4 * i + 1] = (int16_t)((from[i] >> 2 & 3) - zero);
            to[4 * i + 2] = (int16_t)((from[i] >> 4 & 3) - zero);
            to[4 * i + 3] = (int16_t)((from[i] >> 6) - zero);
        }
    }
    for (i = bytes * each; i < count; i++)
        to[i] = (int16_t)((from[bytes] >> bits * (i % each) & mask) - zero);
}

/* == row_of: types == */
static uint8_t *row_of(const tensor *of, int y)
{
    return (uint8_t *)arena + of->offset + (uint32_t)y * ((uint32_t)(of->width * of->channels * of->bits + 7) / 8);
}

/* == load: decode, row_of == */
/* Values of one row, from the `start`th on. */
static void load(const tensor *in, int y, int start, int count, int16_t *restrict to)
{
    if (in->table) {
        const uint8_t *from = image + (uint32_t)(y * in->width) * in->channels + start;
        int i, channel = start % in->channels;

        for (i = 0; i < count; i++) {
            to[i] = (int16_t)(in->table[256 * channel + from[i]] - in->zero);
            channel = channel + 1 < in->channels ? channel + 1 : 0;
        }
    } else {
        decode(row_of(in, y), start, count, in->bits, in->zero, to);
    }
}

/* == columns: load == */
/* How many columns of equal phase a padded row has: those that lie `dilation` apart stand side by side. */
static int phase(const tensor *in, const layer *by)
{
    return (in->width + by->dilation * (by->kernel - 1) + by->dilation - 1) / by->dilation;
}

/* After how many values of each channel those under the kernel begin for output column x. */
static int window(const tensor *in, const layer *by, int x)
{
    const int column = x * by->stride;

    return (column % by->dilation * phase(in, by) + column / by->dilation) * by->kernel;
}

/* So many channels of the input rows under the kernel for output row y: column by column, and in each of its pixels
   channel by channel. `fill` stands beyond the image. */
static void load_columns(const tensor *in, const layer *by, int y, int channel, int count, int16_t fill,
                         int16_t *columns)
{
    const int pad = by->dilation * (by->kernel / 2);
    int i, c, first, column;

    if (by->kernel == 1 && count == in->channels) {
        load(in, y * by->stride, 0, in->width * count, columns);
        return;
    }
    for (i = 0; i < by->kernel; i++) {
        const int row = y * by->stride + i * by->dilation - pad;

        for (first = 0; first < by->dilation; first++) {
            int16_t *to = columns + (first * phase(in, by) * by->kernel + i) * count;

            for (column = first - pad; column < in->width + pad; column += by->dilation) {
                if (row >= 0 && row < in->height && column >= 0 && column < in->width)
                    load(in, row, column * in->channels + channel, count, to);
                else
                    for (c = 0; c < count; c++)
                        to[c] = fill;
                to += by->kernel * count;
            }
        }
    }
}

/* == place: row_of == */
/* A row of bytes, one an integer, to its place, at its bits. */
static void place(const tensor *out, int y, const uint8_t *from)
{
    const int each = 8 / out->bits, count = out->width * out->channels;
    uint8_t *to = row_of(out, y);
    int i, bytes = count / each;

    if (out->bits == 8) {
        for (i = 0; i < bytes; i++)
            to[i] = from[i];
    } else if (out->bits == 4) {
        for (i = 0; i < bytes; i++)
            to[i] = (uint8_t)(from[2 * i] | from[2 * i + 1] << 4);
    } else {
        for (i = 0; i < bytes; i++)
            to[i] = (uint8_t)(from[4 * i] | from[4 * i + 1] << 2 | from[4 * i + 2] << 4 | from[4 * i + 3] << 6);
    }
    if (bytes * each < count) {
        to[bytes] = 0;
        for (i = bytes * each; i < count; i++)
            to[bytes] = (uint8_t)(to[bytes] | from[i] << out->bits * (i % each));
    }
}

/* == dot: types == */
/* Products of four rows of weights with two windows: sums[i] and sums[4 + i] are those of row i. */
static void dot(const int16_t *weights, const int16_t *left, const int16_t *right, int count, int32_t *sums)
{
    const int16_t *w0 = weights, *w1 = w0 + count, *w2 = w1 + count, *w3 = w2 + count;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    int k;

    for (k = 0; k < count; k++) {
        a0 += w0[k] * left[k];
        a1 += w1[k] * left[k];
        a2 += w2[k] * left[k];
        a3 += w3[k] * left[k];
        b0 += w0[k] * right[k];
        b1 += w1[k] * right[k];
        b2 += w2[k] * right[k];
        b3 += w3[k] * right[k];
    }
    sums[0] = a0, sums[1] = a1, sums[2] = a2, sums[3] = a3;
    sums[4] = b0, sums[5] = b1, sums[6] = b2, sums[7] = b3;
}

/* == convolve: columns, place, dot, rescaled, clamped == */
/* A dense convolution: four channels of weights are unpacked at a time, for a row of pixels. */
static void convolve(const tensor *in, const tensor *out, const layer *by)
{
    const int taps = by->kernel * by->kernel * in->channels, padded = (taps + 7) / 8 * 8;
    const int bytes = (taps * by->bits + 7) / 8;
    int16_t *weights = arena + by->scratch / 2, *columns = weights + 4 * padded;
    uint8_t *apart = (uint8_t *)(columns + by->dilation * phase(in, by) * by->kernel * in->channels + 8);
    int y, x, c, i, k;

    for (y = 0; y < out->height; y++) {
        uint8_t *row = out->bits == 8 ? row_of(out, y) : apart;

        load_columns(in, by, y, 0, in->channels, 0, columns);
        for (c = 0; c < out->channels; c += 4) {
            const int count = out->channels - c < 4 ? out->channels - c : 4;

            for (i = 0; i < 4; i++) {
                if (i < count)
                    decode(by->weights + (uint32_t)(c + i) * (uint32_t)bytes, 0, taps, by->bits, by->zero,
                           weights + i * padded);
                for (k = i < count ? taps : 0; k < padded; k++)
                    weights[i * padded + k] = 0;
            }
            for (x = 0; x < out->width; x += 2) {
                const int16_t *left = columns + window(in, by, x) * in->channels;
                const int16_t *right = x + 1 < out->width ? columns + window(in, by, x + 1) * in->channels : left;
                uint8_t *to = row + x * out->channels + c;
                int32_t sums[8];

                dot(weights, left, right, padded, sums);
                for (i = 0; i < count; i++)
                    to[i] = clamped((rescaled(sums[i], by, c + i) + by->bias[c + i]) >> by->point, out->highest);
                for (i = 0; i < count && right != left; i++)
                    to[out->channels + i] =
                        clamped((rescaled(sums[4 + i], by, c + i) + by->bias[c + i]) >> by->point, out->highest);
            }
        }
        if (row == apart)
            place(out, y, apart);
    }
}

/* == filter: columns, place, rescaled, clamped == */
/* A depthwise convolution, sixteen channels at a time. */
static void filter(const tensor *in, const tensor *out, const layer *by)
{
    const int taps = by->kernel * by->kernel, channels = in->channels;
    const int block = channels < 16 ? channels : 16;
    int16_t *weights = arena + by->scratch / 2, *columns = weights + taps * block;
    uint8_t *row = (uint8_t *)(columns + by->dilation * phase(in, by) * by->kernel * block);
    int y, x, c, i, k;

    for (y = 0; y < out->height; y++) {
        for (c = 0; c < channels; c += 16) {
            const int count = channels - c < 16 ? channels - c : 16;

            load_columns(in, by, y, c, count, 0, columns);
            for (k = 0; k < taps; k++)
                decode(by->weights, k * channels + c, count, by->bits, by->zero, weights + k * count);
            for (x = 0; x < out->width; x++) {
                const int16_t *values = columns + window(in, by, x) * count;
                uint8_t *to = row + x * channels + c;
                int32_t sums[16] = {0};

                for (k = 0; k < taps; k++)
                    for (i = 0; i < count; i++)
                        sums[i] += weights[k * count + i] * values[k * count + i];
                for (i = 0; i < count; i++)
                    to[i] = clamped((rescaled(sums[i], by, c + i) + by->bias[c + i]) >> by->point, out->highest);
            }
        }
        place(out, y, row);
    }
}

/* == average: columns, place, rescaled, clamped == */
/* An average pool, sixteen channels at a time; multipliers are those of as many pixels as lie under the kernel. */
static void average(const tensor *in, const tensor *out, const layer *by)
{
    const int taps = by->kernel * by->kernel, channels = in->channels, reach = by->kernel / 2;
    const int block = channels < 16 ? channels : 16;
    int16_t *columns = arena + by->scratch / 2;
    uint8_t *row = (uint8_t *)(columns + phase(in, by) * by->kernel * block);
    int y, x, c, i, k;

    for (y = 0; y < out->height; y++) {
        const int top = y * by->stride - reach, bottom = top + by->kernel;
        const int rows = (bottom < in->height ? bottom : in->height) - (top > 0 ? top : 0);

        for (c = 0; c < channels; c += 16) {
            const int count = channels - c < 16 ? channels - c : 16;

            load_columns(in, by, y, c, count, 0, columns);
            for (x = 0; x < out->width; x++) {
                const int left = x * by->stride - reach, right = left + by->kernel;
                const int pixels = rows * ((right < in->width ? right : in->width) - (left > 0 ? left : 0));
                const int16_t *values = columns + window(in, by, x) * count;

                for (i = 0; i < count; i++) {
                    int32_t sum = 0;

                    for (k = 0; k < taps; k++)
                        sum += values[k * count + i];
                    row[x * channels + c + i] =
                        clamped((rescaled(sum, by, pixels - 1) + by->bias[0]) >> by->point, out->highest);
                }
            }
        }
        place(out, y, row);
    }
}

/* == maximum: columns, place == */
/* A max pool, sixteen channels at a time. */
static void maximum(const tensor *in, const tensor *out, const layer *by)
{
    const int taps = by->kernel * by->kernel, channels = in->channels;
    const int block = channels < 16 ? channels : 16;
    int16_t *columns = arena + by->scratch / 2;
    uint8_t *row = (uint8_t *)(columns + phase(in, by) * by->kernel * block);
    int y, x, c, i, k;

    for (y = 0; y < out->height; y++) {
        for (c = 0; c < channels; c += 16) {
            const int count = channels - c < 16 ? channels - c : 16;

            load_columns(in, by, y, c, count, INT16_MIN, columns);
            for (x = 0; x < out->width; x++) {
                const int16_t *values = columns + window(in, by, x) * count;

                for (i = 0; i < count; i++) {
                    int16_t most = values[i];

                    for (k = 1; k < taps; k++)
                        most = values[k * count + i] > most ? values[k * count + i] : most;
                    row[x * channels + c + i] = (uint8_t)(most + out->zero);
                }
            }
        }
        place(out, y, row);
    }
}

/* == add: load, place, clamped == */
static void add(const tensor *left, const tensor *right, const tensor *out, const layer *by)
{
    const int count = out->width * out->channels;
    int16_t *lefts = arena + by->scratch / 2, *rights = lefts + count;
    uint8_t *apart = (uint8_t *)(rights + count);
    int y, i;

    for (y = 0; y < out->height; y++) {
        uint8_t *row = out->bits == 8 ? row_of(out, y) : apart;

        load(left, y, 0, count, lefts);
        load(right, y, 0, count, rights);
        for (i = 0; i < count; i++) {
            int32_t sum = lefts[i] * by->multiplier[0] + rights[i] * by->multiplier[1];

            row[i] = clamped((sum + by->bias[0]) >> by->point, out->highest);
        }
        if (row == apart)
            place(out, y, apart);
    }
}

/* == concatenate: load, place, clamped == */
static void concatenate(const tensor *const *parts, int count, const tensor *out, const layer *by)
{
    uint8_t *row = (uint8_t *)(arena + by->scratch / 2);
    int16_t *values = arena + by->scratch / 2 + (out->width * out->channels + 1) / 2;
    int y, x, c, part;

    for (y = 0; y < out->height; y++) {
        uint8_t *to = row;

        for (part = 0; part < count; part++) {
            const int channels = parts[part]->channels;

            load(parts[part], y, 0, out->width * channels, values);
            for (x = 0; x < out->width; x++)
                for (c = 0; c < channels; c++) {
                    int32_t value = values[x * channels + c] * by->multiplier[part];

                    to[x * out->channels + c] = clamped((value + by->bias[0]) >> by->point, out->highest);
                }
            to += channels;
        }
        place(out, y, row);
    }
}

/* == average_all: load, place, rescaled, clamped == */
/* The average of every channel over the whole image, sixteen channels at a time. */
static void average_all(const tensor *in, const tensor *out, const layer *by)
{
    uint8_t *row = (uint8_t *)(arena + by->scratch / 2);
    int y, x, c, i;

    for (c = 0; c < in->channels; c += 16) {
        const int count = in->channels - c < 16 ? in->channels - c : 16;
        int32_t sums[16] = {0};
        int16_t values[16];

        for (y = 0; y < in->height; y++)
            for (x = 0; x < in->width; x++) {
                load(in, y, x * in->channels + c, count, values);
                for (i = 0; i < count; i++)
                    sums[i] += values[i];
            }
        for (i = 0; i < count; i++)
            row[c + i] = clamped((rescaled(sums[i], by, 0) + by->bias[0]) >> by->point, out->highest);
    }
    place(out, 0, row);
}

/* == connect: load, decode, rescaled == */
/* The linear layer: every class's weights times the values of the one pixel that is left. */
static void connect(const tensor *in, int classes, const layer *by, int32_t *logits)
{
    const int taps = in->channels, bytes = (taps * by->bits + 7) / 8;
    int16_t *values = arena + by->scratch / 2, *weights = values + taps;
    int c, k;

    load(in, 0, 0, taps, values);
    for (c = 0; c < classes; c++) {
        int32_t sum = 0;

        decode(by->weights + (uint32_t)c * (uint32_t)bytes, 0, taps, by->bits, by->zero, weights);
        for (k = 0; k < taps; k++)
            sum += weights[k] * values[k];
        logits[c] = rescaled(sum, by, c) + by->bias[c];
    }
}

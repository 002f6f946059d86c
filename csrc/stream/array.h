/* array: arrays that grow by doubling. Whoever holds one frees its memory. Each belongs to one thread at a
 * time. The one error is to be out of memory.
 */
#ifndef VLLMPERF_ARRAY_H
#define VLLMPERF_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Room for `need` elements. False when out of memory; the array is then as it was. cap is a size_t. */
#define ARRAY_ROOM(array, cap, need)                                                                         \
    ((need) <= (cap) || array_grow(&(array), &(cap), (need), sizeof *(array), false))

/* The same; elements that are new are zeros. */
#define ARRAY_ROOM_ZEROED(array, cap, need)                                                                  \
    ((need) <= (cap) || array_grow(&(array), &(cap), (need), sizeof *(array), true))

/* `array` points to the pointer, whose type is not known here: hence the copies. */
static inline bool array_grow(void *array, size_t *cap, size_t need, size_t size, bool zeroed) {
    size_t bigger = *cap ? *cap * 2 : 8;
    void *held;
    while (bigger < need) bigger *= 2;
    memcpy(&held, array, sizeof held);
    void *moved = realloc(held, bigger * size);
    if (!moved) return false;
    if (zeroed) memset((char *)moved + *cap * size, 0, (bigger - *cap) * size);
    memcpy(array, &moved, sizeof moved);
    *cap = bigger;
    return true;
}

/* Free an array, and so what is in it, when it is larger than max_bytes. */
#define ARRAY_TRIM(array, cap, max_bytes) array_trim(&(array), &(cap), sizeof *(array), (max_bytes))

static inline void array_trim(void *array, size_t *cap, size_t size, size_t max_bytes) {
    void *held;
    if (*cap * size <= max_bytes) return;
    memcpy(&held, array, sizeof held);
    free(held);
    held = NULL;
    memcpy(array, &held, sizeof held);
    *cap = 0;
}

#endif

/* decoder: a compressed body (gzip or deflate) made plain, piece by piece, with zlib. One thread at a time.
 * Whoever made a decoder frees it.
 */
#ifndef VLLMPERF_DECODER_H
#define VLLMPERF_DECODER_H

#include <stdbool.h>
#include <stddef.h>

struct decoder; /* opaque */

/* What a Content-Encoding asks for. */
enum coding { CODING_NONE, CODING_ZLIB, CODING_UNKNOWN };
enum coding coding_of(const char *content_encoding);

struct decoder *decoder_new(void); /* NULL when out of memory */
void decoder_free(struct decoder *decoder);

/* Ready for the next body. */
void decoder_begin(struct decoder *decoder);

/* Gives each decoded piece to `take`. False when the input is not compressed as it should be. */
typedef void decoder_take(void *context, const char *bytes, size_t len);
bool decoder_feed(struct decoder *decoder, const char *bytes, size_t len, decoder_take *take, void *context);

#endif

/* Owns one zlib stream and its output buffer.
 * Does not know HTTP: whoever reads the headers says that there is something to decode. */
#include "engine/decoder.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

enum { OUTPUT_BYTES = 32 * 1024, ANY_WRAPPER = 32 + MAX_WBITS, NO_WRAPPER = -MAX_WBITS };

struct decoder {
    z_stream stream;
    bool begun, ended;
    bool is_gzip; /* may have several members, one behind the other */
    char output[OUTPUT_BYTES];
};

enum coding coding_of(const char *content_encoding) {
    if (!content_encoding[0] || strcasecmp(content_encoding, "identity") == 0) return CODING_NONE;
    static const char *const known[] = {"gzip", "x-gzip", "deflate"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcasecmp(content_encoding, known[i]) == 0) return CODING_ZLIB;
    return CODING_UNKNOWN;
}

struct decoder *decoder_new(void) {
    struct decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder || inflateInit2(&decoder->stream, ANY_WRAPPER) == Z_OK) return decoder;
    free(decoder);
    return NULL;
}

void decoder_free(struct decoder *decoder) {
    if (!decoder) return;
    inflateEnd(&decoder->stream);
    free(decoder);
}

void decoder_begin(struct decoder *decoder) {
    inflateReset2(&decoder->stream, ANY_WRAPPER);
    decoder->begun = decoder->ended = decoder->is_gzip = false;
}

/* "deflate" is zlib's wrapper by the standard and none at all by many servers: a first byte that begins
 * neither wrapper decides. */
static void choose_wrapper(struct decoder *decoder, const char *bytes) {
    unsigned char first = (unsigned char)bytes[0];
    decoder->is_gzip = first == 0x1f;
    bool is_wrapped = decoder->is_gzip || (first & 0x0f) == 8;
    if (!is_wrapped) inflateReset2(&decoder->stream, NO_WRAPPER);
    decoder->begun = true;
}

/* Behind a member of gzip stands another one, or padding that says nothing. */
static bool begins_another(const struct decoder *decoder) {
    const z_stream *stream = &decoder->stream;
    return decoder->ended && decoder->is_gzip && stream->avail_in && stream->next_in[0] == 0x1f;
}

bool decoder_feed(struct decoder *decoder, const char *bytes, size_t len, decoder_take *take, void *context) {
    z_stream *stream = &decoder->stream;
    if (len && !decoder->begun) choose_wrapper(decoder, bytes);
    stream->next_in = (Bytef *)(uintptr_t)bytes;
    stream->avail_in = (uInt)len;
    if (begins_another(decoder)) inflateReset(stream), decoder->ended = false;
    while (!decoder->ended && (stream->avail_in || !stream->avail_out)) {
        stream->next_out = (Bytef *)decoder->output;
        stream->avail_out = OUTPUT_BYTES;
        int status = inflate(stream, Z_SYNC_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) return false;
        size_t made = OUTPUT_BYTES - stream->avail_out;
        if (made) take(context, decoder->output, made);
        decoder->ended = status == Z_STREAM_END;
        if (begins_another(decoder)) inflateReset(stream), decoder->ended = false;
        if (status == Z_BUF_ERROR) break;
    }
    stream->avail_out = OUTPUT_BYTES; /* nothing waits in zlib */
    return true;
}

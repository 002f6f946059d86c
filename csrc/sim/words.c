/* Owns the vocabulary and the rule that counts the tokens of a text.
 * Does not know JSON beyond the escapes of blanks. */
#include "sim/words.h"

#include <stdbool.h>
#include <string.h>

/* Sorted, each with the blank that begins its token. */
static const char *const pieces[WORDS_COUNT] = {
    " a",       " ac",      " accusam",  " ad",       " adipisci", " aliqua",    " aliquam", " amet",
    " anim",    " arcu",    " at",       " aute",     " autem",    " brevis",    " caelum",  " carpe",
    " casus",   " cillum",  " clita",    " commodo",  " congue",   " cras",      " culpa",   " cum",
    " cursus",  " dapibus", " deserunt", " diam",     " dicta",    " dies",      " do",      " dolor",
    " dolore",  " domus",   " donec",    " duis",     " ea",       " efficitur", " eget",    " eirmod",
    " eius",    " elit",    " enim",     " eos",      " erat",     " est",       " et",      " etiam",
    " eu",      " ex",      " fames",    " faucibus", " felis",    " fermentum", " fugiat",  " fusce",
    " gravida", " hora",    " iaculis",  " id",       " imber",    " in",        " integer", " ipsum",
    " iusto",   " justo",   " kasd",     " labore",   " lacus",    " laoreet",   " lectus",  " leo",
    " libero",  " ligula",  " lorem",    " luctus",   " magna",    " manus",     " massa",   " mattis",
    " mauris",  " maximus", " metus",    " minim",    " mollis",   " morbi",     " nam",     " nec",
    " neque",   " nibh",    " nisi",     " no",       " non",      " nulla",     " nunc",    " odio",
    " orci",    " pax",     " per",      " porta",    " purus",    " quam",      " qui",     " quis",
    " rebum",   " risus",   " sanctus",  " sapien",   " sed",      " sem",       " sit",     " stella",
    " sunt",    " tellus",  " tempor",   " terra",    " tortor",   " turpis",    " ullamco", " umbra",
    " unda",    " urna",    " ut",       " varius",   " velit",    " veniam",    " vitae",   " zephyrus",
};

const char *words_piece(int64_t id, size_t *len) {
    uint64_t index = ((uint64_t)id - WORDS_FIRST_ID) % WORDS_COUNT;
    *len = strlen(pieces[index]);
    return pieces[index];
}

/* Length of the blank at `at`, 0 when it is none. */
static size_t words_blank(const char *at, const char *end) {
    if ((unsigned char)*at <= ' ') return 1;
    if (*at == '\\' && end - at >= 2 && (at[1] == 'n' || at[1] == 't' || at[1] == 'r' || at[1] == 'f'))
        return 2;
    return 0;
}

size_t words_next(const char *text, size_t len, size_t *at) {
    const char *end = text + len, *from = text + *at;
    for (size_t n; from < end && (n = words_blank(from, end)) > 0;) from += n;
    const char *word = from;
    while (from < end && words_blank(from, end) == 0) from += *from == '\\' && end - from >= 2 ? 2 : 1;
    *at = (size_t)(word - text);
    return (size_t)(from - word);
}

int64_t words_count(const char *text, size_t len) {
    int64_t count = 0;
    size_t at = 0;
    for (size_t n; (n = words_next(text, len, &at)) > 0; at += n) count++;
    return count;
}

int64_t words_id(const char *word, size_t len) {
    int low = 0, high = WORDS_COUNT;
    while (low < high) {
        int middle = (low + high) / 2;
        const char *piece = pieces[middle] + 1;
        size_t n = strlen(piece);
        int order = memcmp(piece, word, n < len ? n : len);
        if (order == 0 && n == len) return WORDS_FIRST_ID + middle;
        if (order < 0 || (order == 0 && n < len))
            low = middle + 1;
        else
            high = middle;
    }
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < len; i++) hash = (hash ^ (unsigned char)word[i]) * UINT64_C(1099511628211);
    return WORDS_OTHER_ID + (int64_t)(hash % WORDS_OTHER_IDS);
}

/* Owns the sentences about scan/lines: which lines are hits, overlapping needles, counting, refusals. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "scan/lines.h"
#include "test/t.h"

enum { CAP = 16, TEXT = 256 };

/* The hits as one text: "number:line;" for each, and "=" with the number of lines. */
static void scan(const char *const *needles, size_t count, const char *text, size_t cap, char *out) {
    size_t lens[CAP], used = 0, n;
    for (size_t i = 0; i < count; i++) lens[i] = strlen(needles[i]);
    struct lines *lines = lines_new(needles, lens, count);
    struct lines_cursor cursor = {0, 0};
    struct lines_hit hits[CAP];
    out[0] = '\0';
    do {
        n = lines ? lines_find(lines, text, strlen(text), &cursor, hits, cap) : 0;
        for (size_t i = 0; i < n; i++)
            used += (size_t)snprintf(out + used, TEXT - used, "%zu:%.*s;", hits[i].line,
                                     (int)(hits[i].end - hits[i].start), text + hits[i].start);
    } while (lines && n == cap);
    snprintf(out + used, TEXT - used, "=%zu", cursor.line);
    lines_free(lines);
}

static const struct {
    const char *sentence, *needles[3], *text, *hits;
} cases[] = {
    {"a line with a needle is a hit", {"ready"}, "a\nis ready now\nb\n", "1:is ready now;=3"},
    {"a line without is none", {"ready"}, "a\nread y\n", "=2"},
    {"a line counts once however often it holds a needle", {"a", "b"}, "abab\n", "0:abab;=1"},
    {"a needle does not reach over a line's end", {"ab"}, "a\nb\n", "=2"},
    {"needles that begin alike are both found",
     {"abcd", "abx"},
     "abcx\nabx\nabcabcd\n",
     "1:abx;2:abcabcd;=3"},
    {"a needle inside another's beginning is found", {"abcd", "bc"}, "abce\n", "0:abce;=1"},
    {"a needle after its own false start is found", {"aab"}, "aaab\n", "0:aaab;=1"},
    {"a last line without its end counts", {"x"}, "a\nx", "1:x;=2"},
    {"empty lines count", {"x"}, "\n\nx\n", "2:x;=3"},
    {"no text has no line", {"x"}, "", "=0"},
};

static void test_cases(void) {
    char out[TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t cap = 1; cap <= 3; cap++) {
            size_t count = 0;
            while (count < 3 && cases[i].needles[count]) count++;
            scan(cases[i].needles, count, cases[i].text, cap, out);
            CHECK(cases[i].sentence, strcmp(out, cases[i].hits) == 0);
        }
}

static void test_bytes(void) {
    static const char *const needles[] = {"\xe2\x96\x88  version", "a\0b"};
    static const char text[] = "xa\0bx\n\xe2\x96\x88  version 1\n\xe2\x96 version\n";
    size_t lens[] = {12, 3};
    struct lines *lines = lines_new(needles, lens, 2);
    struct lines_cursor cursor = {0, 0};
    struct lines_hit hits[CAP];
    size_t n = lines_find(lines, text, sizeof text - 1, &cursor, hits, CAP);
    CHECK("any byte may stand in a needle", n == 2 && hits[0].line == 0 && hits[1].line == 1);
    lines_free(lines);
}

static void test_refusals(void) {
    static const char *const needles[] = {"a\nb", ""};
    size_t len = 3, none = 0, huge = LINES_MAX_BYTES + 1;
    CHECK("a needle with a line's end is refused", !lines_new(needles, &len, 1));
    CHECK("an empty needle is refused", !lines_new(needles + 1, &none, 1));
    CHECK("no needle is refused", !lines_new(needles, &len, 0));
    CHECK("needles beyond the limit are refused", !lines_new(needles, &huge, 1));
    lines_free(NULL);
}

int main(void) {
    test_cases();
    test_bytes();
    test_refusals();
    return t_done("test_scan");
}

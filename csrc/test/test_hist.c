/* Owns the sentences about stats/hist: exact small values, the bound, moments, merging, the packed image.
 * Does not compare with NumPy (tests/stats does). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/hist.h"
#include "test/random.h"
#include "test/t.h"

static struct hist *new_hist(void) {
    struct hist *h = hist_new();
    if (!h) abort();
    return h;
}

/* What one value reads back as between a smaller and a larger one, so that no clamp helps. */
static double read_back(int64_t value) {
    struct hist *h = new_hist();
    hist_add(h, 0, 1);
    hist_add(h, value, 1);
    hist_add(h, INT64_MAX, 1);
    double got = hist_quantile(h, 0.5);
    hist_free(h);
    return got;
}

static double error_of(int64_t value) {
    return fabs(read_back(value) - (double)value) / (double)value;
}

static void test_bound(void) {
    int inexact = 0;
    for (int64_t value = 0; value < 2048; value++) inexact += read_back(value) != (double)value;
    CHECK("values below 2048 are exact", inexact == 0);
    double worst = 0;
    for (int bit = 11; bit < 63; bit++)
        for (int i = 0; i < 40; i++) {
            int64_t low = INT64_C(1) << bit;
            worst = fmax(worst, error_of(low + (int64_t)(next_random() % (uint64_t)low)));
            worst = fmax(worst, error_of(low + (low >> 10) * i));
            worst = fmax(worst, error_of(low + (low >> 10) * (i + 1) - 1));
        }
    CHECK("all others come back within 1/2048", worst <= 1.0 / 2048);
}

static void test_edges(void) {
    struct hist *h = new_hist();
    CHECK("an empty one has no mean, deviation or quantile",
          isnan(hist_mean(h)) && isnan(hist_std(h)) && isnan(hist_quantile(h, 0.5)));
    CHECK("and count, min and max are 0", hist_count(h) == 0 && hist_min(h) == 0 && hist_max(h) == 0);
    hist_add(h, 5, 0);
    CHECK("a value zero times is none", hist_count(h) == 0);
    hist_add(h, 1000003, 1);
    CHECK("one value is every quantile, exactly",
          hist_quantile(h, 0) == 1000003 && hist_quantile(h, 0.3) == 1000003);
    CHECK("with no deviation", hist_mean(h) == 1000003 && hist_std(h) == 0);
    CHECK("a quantile out of range is NaN", isnan(hist_quantile(h, -0.1)) && isnan(hist_quantile(h, 1.1)));
    CHECK("and so is that of NaN", isnan(hist_quantile(h, (double)NAN)));
    hist_add(h, -7, 1);
    CHECK("a negative value counts as 0", hist_min(h) == 0 && hist_mean(h) == 1000003 / 2.0);
    hist_add(h, INT64_MAX, 1);
    CHECK("the largest value is one like others", hist_max(h) == INT64_MAX && hist_count(h) == 3);
    hist_free(h);
    hist_free(NULL);
}

static void test_ranks(void) {
    struct hist *h = new_hist();
    hist_add(h, 10, 1);
    hist_add(h, 20, 2);
    hist_add(h, 40, 1);
    CHECK("quantiles are NumPy's", hist_quantile(h, 0.5) == 20 && hist_quantile(h, 0.25) == 17.5);
    CHECK("up to the largest", hist_quantile(h, 0.9) == 20 + 20 * (3 * 0.9 - 2) && hist_quantile(h, 1) == 40);
    CHECK("mean and population deviation", hist_mean(h) == 22.5 && fabs(hist_std(h) - sqrt(118.75)) < 1e-12);
    hist_free(h);
}

static void test_large_offset(void) {
    struct hist *h = new_hist();
    for (int64_t i = 0; i < 1000; i++) hist_add(h, INT64_C(3600000000000) + i, 1000);
    double expected = sqrt((1000.0 * 1000.0 - 1) / 12);
    CHECK("an hour plus nanoseconds keeps its deviation", fabs(hist_std(h) - expected) < expected * 1e-15);
    CHECK("and its mean", hist_mean(h) == 3600000000000.0 + 499.5);
    hist_free(h);
}

static void test_huge(void) {
    struct hist *h = new_hist();
    hist_add(h, INT64_MAX, UINT64_C(1) << 62);
    CHECK("sums beyond 128 bits stay exact", hist_mean(h) == 0x1p63 && hist_std(h) == 0);
    hist_add(h, INT64_MAX - 2, UINT64_C(1) << 62);
    CHECK("and the deviation too", hist_std(h) == 1);
    hist_free(h);
}

static void fill(struct hist *h, int n) {
    for (int i = 0; i < n; i++)
        hist_add(h, (int64_t)(next_random() >> (1 + next_random() % 60)), 1 + next_random() % 3);
}

static int same(const struct hist *a, const struct hist *b) {
    size_t size = hist_pack(a, NULL);
    if (size != hist_pack(b, NULL)) return 0;
    char *x = malloc(size), *y = malloc(size);
    if (!x || !y) abort();
    hist_pack(a, x);
    hist_pack(b, y);
    int equal = memcmp(x, y, size) == 0;
    free(x);
    free(y);
    return equal;
}

static void test_merge(void) {
    struct hist *a = new_hist(), *b = new_hist(), *all = new_hist();
    uint64_t seed = state;
    fill(a, 500);
    fill(b, 300);
    state = seed;
    fill(all, 800);
    hist_merge(a, b);
    CHECK("merged is as if put into one", same(a, all) && hist_count(a) == hist_count(all));
    CHECK("with all figures",
          hist_mean(a) == hist_mean(all) && hist_min(a) == hist_min(all) && hist_max(a) == hist_max(all));
    struct hist *empty = new_hist();
    hist_merge(a, empty);
    CHECK("an empty one adds nothing", same(a, all));
    hist_merge(empty, a);
    CHECK("merging into an empty one copies", same(empty, all));
    hist_clear(a);
    CHECK("a cleared one is as new", hist_count(a) == 0 && hist_max(a) == 0 && hist_mean(a) != hist_mean(a));
    hist_merge(a, all);
    CHECK("and can be filled again", same(a, all));
    hist_free(a);
    hist_free(b);
    hist_free(all);
    hist_free(empty);
}

static void test_pack(void) {
    struct hist *h = new_hist();
    fill(h, 400);
    size_t size = hist_pack(h, NULL);
    unsigned char *image = malloc(size);
    if (!image) abort();
    CHECK("the size is told before", hist_pack(h, image) == size);
    struct hist *copy = hist_unpack(image, size);
    CHECK("unpacked is the same", copy && same(h, copy) && hist_std(h) == hist_std(copy));
    hist_free(copy);
    int accepted = 0;
    for (size_t len = 0; len < size; len++) {
        struct hist *cut = hist_unpack(image, len);
        accepted += cut != NULL;
        hist_free(cut);
    }
    CHECK("no beginning of an image is one", accepted == 0);
    for (size_t i = 0; i < size; i++) {
        image[i] ^= 0xff;
        struct hist *odd = hist_unpack(image, size);
        if (odd) (void)hist_quantile(odd, 0.5); /* only must not crash */
        accepted += i < 8 && odd;
        hist_free(odd);
        image[i] ^= 0xff;
    }
    CHECK("a changed magic is refused", accepted == 0);
    free(image);
    hist_free(h);
}

static void test_pack_empty(void) {
    struct hist *h = new_hist();
    char image[1024];
    size_t size = hist_pack(h, NULL);
    CHECK("an empty image is small", size <= sizeof image && hist_pack(h, image) == size);
    struct hist *copy = hist_unpack(image, size);
    CHECK("and comes back empty", copy && hist_count(copy) == 0 && isnan(hist_mean(copy)));
    if (copy) hist_add(copy, 7, 1);
    CHECK("and usable", copy && hist_quantile(copy, 0.5) == 7);
    hist_free(copy);
    hist_free(h);
}

int main(void) {
    test_bound();
    test_edges();
    test_ranks();
    test_large_offset();
    test_huge();
    test_merge();
    test_pack();
    test_pack_empty();
    return t_done("test_hist");
}

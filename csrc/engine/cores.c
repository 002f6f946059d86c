/* Owns the question how many cores are ours.
 * Does not decide how many threads that makes. */
#include "engine/cores.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 3 * PATH_MAX, MAX_CPUS = 1 << 16 };

/* A hierarchy of control groups: where it is mounted, and where this process is in it. */
struct hierarchy {
    bool is_v2;
    char mount[PATH_MAX], root[PATH_MAX]; /* root: the group that the mount point shows */
    char group[PATH_MAX];                 /* of this process; "" when it is in none */
};

/* ---- /proc ---- */

static FILE *open_under(const char *root, const char *path) {
    char whole[2 * PATH_MAX];
    int len = snprintf(whole, sizeof whole, "%s%s", root, path);
    return len > 0 && (size_t)len < sizeof whole ? fopen(whole, "re") : NULL;
}

/* Is `word` one of a list with commas? */
static bool cores_holds(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *at = list; *at; at += *at == ',') {
        size_t part = strcspn(at, ",");
        if (part == len && strncmp(at, word, len) == 0) return true;
        at += part;
    }
    return false;
}

/* Blanks and the like are written as \040. */
static void cores_unescape(char *text) {
    char *to = text;
    for (const char *from = text; *from; to++) {
        bool is_octal = from[0] == '\\' && from[1] && from[2] && from[3];
        *to = is_octal ? (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0')) : *from;
        from += is_octal ? 4 : 1;
    }
    *to = '\0';
}

/* A line of mountinfo (proc(5)): id parent device root mount options [tags] - type source super-options. */
static bool take_mount(const char *line, struct hierarchy *h) {
    char type[32], options[1024];
    const char *rest = strstr(line, " - ");
    if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", h->root, h->mount) != 2) return false;
    if (sscanf(rest + 3, "%31s %*s %1023s", type, options) != 2) return false;
    cores_unescape(h->root);
    cores_unescape(h->mount);
    return h->is_v2 ? strcmp(type, "cgroup2") == 0
                    : strcmp(type, "cgroup") == 0 && cores_holds(options, "cpu");
}

static bool find_mount(const char *root, struct hierarchy *h) {
    static const char path[] = "/proc/self/mountinfo";
    FILE *file = open_under(root, path);
    char *line = file ? malloc(LINE) : NULL;
    bool found = false;
    while (line && !found && fgets(line, LINE, file)) found = take_mount(line, h);
    free(line);
    if (file) fclose(file);
    return found;
}

/* A line of /proc/self/cgroup: number:controllers:path; v2 has the number 0 and no controllers. */
static bool take_group(char *line, struct hierarchy *h) {
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path) return false;
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    if (h->is_v2 ? strcmp(line, "0:") != 0 : !cores_holds(controllers + 1, "cpu")) return false;
    snprintf(h->group, sizeof h->group, "%s", path);
    return true;
}

static bool find_group(const char *root, struct hierarchy *h) {
    FILE *file = open_under(root, "/proc/self/cgroup");
    char *line = file ? malloc(LINE) : NULL;
    bool found = false;
    while (line && !found && fgets(line, LINE, file)) found = take_group(line, h);
    free(line);
    if (file) fclose(file);
    return found;
}

/* ---- limits ---- */

static bool read_text(const char *root, const char *folder, const char *name, char *text, int size) {
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = open_under(root, path);
    bool ok = file && fgets(text, size, file);
    if (file) fclose(file);
    return ok;
}

/* In cores, 0 for none. v2: "max 100000" or "250000 100000"; v1: a quota of -1 is none. */
static double limit_of(const char *root, const char *folder, bool is_v2) {
    char text[64], period_text[64];
    double quota = 0, period = 0;
    if (is_v2) {
        if (!read_text(root, folder, "cpu.max", text, sizeof text)) return 0;
        if (sscanf(text, "%lf %lf", &quota, &period) != 2) return 0;
    } else {
        if (!read_text(root, folder, "cpu.cfs_quota_us", text, sizeof text)) return 0;
        if (!read_text(root, folder, "cpu.cfs_period_us", period_text, sizeof period_text)) return 0;
        quota = strtod(text, NULL);
        period = strtod(period_text, NULL);
    }
    return quota > 0 && period > 0 ? quota / period : 0;
}

static double cores_lesser(double a, double b) {
    return a > 0 && (b == 0 || a < b) ? a : b;
}

/* The group's folder below the mount point. Inside a container the mount may show the group itself, or one
 * that the path, told from outside, does not begin with: then the mount point is what there is to read. */
static const char *cores_below(const struct hierarchy *h) {
    size_t len = strcmp(h->root, "/") == 0 ? 0 : strlen(h->root);
    bool is_below = strncmp(h->group, h->root, len) == 0 && (h->group[len] == '/' || h->group[len] == '\0');
    return is_below && !strstr(h->group, "/..") ? h->group + len : "";
}

/* Up from the process's group: a limit above holds for all that is below. */
static double least_limit(const char *root, const struct hierarchy *h) {
    char folder[2 * PATH_MAX];
    size_t mount = strlen(h->mount);
    double least = 0;
    snprintf(folder, sizeof folder, "%s%s", h->mount, cores_below(h));
    for (;;) {
        least = cores_lesser(limit_of(root, folder, h->is_v2), least);
        char *last = strrchr(folder, '/');
        if (!last || last < folder + mount) return least;
        *last = '\0';
    }
}

double cores_limit(const char *root) {
    double least = 0;
    for (int v2 = 0; v2 < 2; v2++) {
        struct hierarchy *h = calloc(1, sizeof *h);
        if (!h) return least;
        h->is_v2 = v2;
        if (find_group(root, h) && find_mount(root, h)) least = cores_lesser(least_limit(root, h), least);
        free(h);
    }
    return least;
}

/* ---- affinity ---- */

/* The kernel refuses a set that is smaller than its own. */
static int64_t cores_of_affinity(void) {
    for (int cpus = 1024; cpus <= MAX_CPUS; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        bool ok = set && sched_getaffinity(0, size, set) == 0;
        int64_t count = ok ? CPU_COUNT_S(size, set) : 0;
        if (set) CPU_FREE(set);
        if (ok) return count;
    }
    return sysconf(_SC_NPROCESSORS_ONLN);
}

int64_t cores_usable(void) {
    int64_t cores = cores_of_affinity();
    double limit = cores_limit("");
    if (limit > 0 && limit < (double)cores) cores = (int64_t)limit;
    return cores > 1 ? cores : 1;
}

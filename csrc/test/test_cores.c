/* Owns the sentences about engine/cores: what a control group's limit makes of the cores. A folder under /tmp
 * stands for "/". */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/cores.h"
#include "test/t.h"

static char root[] = "/tmp/vllmperf-cores-XXXXXX";

static void put(const char *path, const char *text) {
    char whole[512];
    int len = snprintf(whole, sizeof whole, "%s%s", root, path);
    for (int i = (int)strlen(root) + 1; i < len; i++) {
        if (whole[i] != '/') continue;
        whole[i] = '\0';
        mkdir(whole, 0700);
        whole[i] = '/';
    }
    FILE *file = fopen(whole, "w");
    if (!file) abort();
    fputs(text, file);
    fclose(file);
}

static void clean(void) {
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s/*", root);
    if (system(command) != 0) abort();
}

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNTS                                                                                            \
    "24 23 0:5 / /proc rw - proc proc rw\n"                                                                  \
    "31 30 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"                                      \
    "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"

/* A world of its own: /proc/self/mountinfo, /proc/self/cgroup, and files. */
static double limit(const char *mounts, const char *groups, const char *const *files) {
    put("/proc/self/mountinfo", mounts);
    put("/proc/self/cgroup", groups);
    for (; *files; files += 2) put(files[0], files[1]);
    double found = cores_limit(root);
    clean();
    return found;
}
#define FILES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING    ((const char *const[]){NULL})

static void test_v2(void) {
    CHECK("the root group has no limit", limit(V2_MOUNT, "0::/\n", NOTHING) == 0);
    CHECK("2.5 cores",
          limit(V2_MOUNT, "0::/a\n", FILES("/sys/fs/cgroup/a/cpu.max", "250000 100000\n")) == 2.5);
    CHECK("max is none", limit(V2_MOUNT, "0::/a\n", FILES("/sys/fs/cgroup/a/cpu.max", "max 100000\n")) == 0);
    CHECK("another group's limit is not ours",
          limit(V2_MOUNT, "0::/a\n", FILES("/sys/fs/cgroup/b/cpu.max", "100000 100000\n")) == 0);
    CHECK("a limit above holds below", limit(V2_MOUNT, "0::/a/b/c\n",
                                             FILES("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n",
                                                   "/sys/fs/cgroup/a/cpu.max", "300000 100000\n")) == 3);
    CHECK("the least one of all counts", limit(V2_MOUNT, "0::/a/b\n",
                                               FILES("/sys/fs/cgroup/a/b/cpu.max", "800000 100000\n",
                                                     "/sys/fs/cgroup/a/cpu.max", "150000 100000\n")) == 1.5);
    CHECK("a container sees its own group as the root",
          limit(V2_MOUNT, "0::/\n", FILES("/sys/fs/cgroup/cpu.max", "50000 100000\n")) == 0.5);
    CHECK("a path from outside of the container's view ends at the mount point",
          limit(V2_MOUNT, "0::/../../pod\n", FILES("/sys/fs/cgroup/cpu.max", "50000 100000\n")) == 0.5);
}

static void test_v1(void) {
    static const char quota[] = "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us",
                      period[] = "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us";
    static const char groups[] = "12:pids:/p\n5:cpuset:/q\n4:cpu,cpuacct:/a\n1:name=systemd:/s\n";
    CHECK("4 cores", limit(V1_MOUNTS, groups, FILES(quota, "200000\n", period, "50000\n")) == 4);
    CHECK("a quota of -1 is none", limit(V1_MOUNTS, groups, FILES(quota, "-1\n", period, "100000\n")) == 0);
    CHECK("nested: the parent's",
          limit(V1_MOUNTS, "4:cpu,cpuacct:/a/b\n", FILES(quota, "700000\n", period, "100000\n")) == 7);
    CHECK("v1 and v2 side by side",
          limit(V1_MOUNTS "40 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
                "4:cpu,cpuacct:/a\n0::/x\n", FILES(quota, "300000\n", period, "100000\n")) == 3);
}

/* Docker with the host's names: the mount shows the group that the path ends in. */
static void test_bind_mounts(void) {
    static const char mounts[] = "32 30 0:28 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
    static const char quota[] = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
                      period[] = "/sys/fs/cgroup/cpu/cpu.cfs_period_us";
    CHECK("the mount point is the group",
          limit(mounts, "4:cpu:/docker/abc\n", FILES(quota, "200000\n", period, "100000\n")) == 2);
    CHECK("and a group within lies below it",
          limit(mounts, "4:cpu:/docker/abc/in\n",
                FILES(quota, "200000\n", period, "100000\n", "/sys/fs/cgroup/cpu/in/cpu.cfs_quota_us",
                      "100000\n", "/sys/fs/cgroup/cpu/in/cpu.cfs_period_us", "100000\n")) == 1);
    CHECK("a name that only begins alike is not it",
          limit(mounts, "4:cpu:/docker/abcd/in\n",
                FILES(quota, "200000\n", period, "100000\n", "/sys/fs/cgroup/cpu/d/in/cpu.cfs_quota_us",
                      "100000\n", "/sys/fs/cgroup/cpu/d/in/cpu.cfs_period_us", "100000\n")) == 2);
}

static void test_odd_files(void) {
    static const char path[] = "/sys/fs/cgroup/a b/cpu.max";
    CHECK("no files, no limit", cores_limit(root) == 0);
    CHECK("no mounts", limit("", "0::/a\n", NOTHING) == 0);
    CHECK("no groups", limit(V2_MOUNT, "", NOTHING) == 0);
    CHECK("rubbish", limit("x - \n - \n1 2 3\n", "::::\n7\n\n0:\n", NOTHING) == 0);
    CHECK("a limit of zero or no number is none", limit(V2_MOUNT, "0::/a b\n", FILES(path, "0 0\n")) == 0 &&
                                                      limit(V2_MOUNT, "0::/a b\n", FILES(path, "\n")) == 0 &&
                                                      limit(V2_MOUNT, "0::/a b\n", FILES(path, "-5 x")) == 0);
    CHECK("names with blanks",
          limit("30 23 0:26 / /sys/fs/my\\040groups rw - cgroup2 cgroup2 rw\n", "0::/a b\n",
                FILES("/sys/fs/my groups/a b/cpu.max", "100000 100000\n")) == 1);
}

static void test_affinity(void) {
    cpu_set_t before, one;
    CHECK("there is an affinity", sched_getaffinity(0, sizeof before, &before) == 0);
    CHECK("cores of ours", cores_usable() >= 1 && cores_usable() <= CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (size_t i = 0; CPU_COUNT(&one) == 0 && i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
    CHECK("it can be cut to one", sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK("then one core is ours", cores_usable() == 1);
    sched_setaffinity(0, sizeof before, &before);
}

int main(void) {
    if (!mkdtemp(root)) return 1;
    test_v2();
    test_v1();
    test_bind_mounts();
    test_odd_files();
    test_affinity();
    rmdir(root);
    return t_done("test_cores");
}

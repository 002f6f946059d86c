/* cores: how many cores this process may keep busy: its CPU affinity, cut by the limits of its control groups
 * (v1 and v2, those of the groups above it too). Reads files under /proc and /sys; holds nothing. Any thread
 * may call; what cannot be read limits nothing.
 */
#ifndef VLLMPERF_CORES_H
#define VLLMPERF_CORES_H

#include <stdint.h>

/* At least 1. A limit of 2.5 cores counts as 2. */
int64_t cores_usable(void);

/* The least limit of the control groups in cores, 0 when there is none. root: "" or a folder that stands for
 * "/", for tests. */
double cores_limit(const char *root);

#endif

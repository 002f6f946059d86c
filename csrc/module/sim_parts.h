/* sim_parts: what the files of the extension module vllmperf._sim share. The GIL is held by all callers.
 */
#ifndef VLLMPERF_MODULE_SIM_PARTS_H
#define VLLMPERF_MODULE_SIM_PARTS_H

#include <Python.h>

#include <stdbool.h>

#include "sim/sim.h"

/* Settings from a dict; false with an exception set. What was filled is for sim_config_free in both cases. */
bool sim_get_config(PyObject *config, struct sim_config *out);

/* Those of the batching engine alone. */
bool sim_get_scheduler(PyObject *config, struct scheduler_config *out, int64_t *front_ns);

/* replay(config, arrays..., ...): see vllmperf/_sim.pyi. */
PyObject *sim_replay(PyObject *module, PyObject *args);

/* Add REPLAY_REQUEST and REPLAY_STEP, the names of the columns; -1 with an exception set. */
int sim_add_replay_columns(PyObject *module);

#endif

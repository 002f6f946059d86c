/* parts: what the pieces of the _engine module share. Only files of csrc/module include Python.h. The GIL is
 * held by all callers.
 */
#ifndef VLLMPERF_PARTS_H
#define VLLMPERF_PARTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "stats/hist.h"

struct module_state {
    PyObject *histogram_type, *engine_type;
};

/* Each adds its functions and types to the module: 0, or -1 with an exception set. */
int add_stats(PyObject *module);
int add_stream(PyObject *module);
int add_scan(PyObject *module);
int add_engine(PyObject *module);

/* A Histogram around a C histogram, which it owns from then on (also when this fails). */
PyObject *histogram_from(PyObject *module, struct hist *owned);

#endif

/* Owns replay() of vllmperf._sim: arrays in, arrays out.
 * Does not simulate (sim/replay.c). */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#include "module/sim_parts.h"
#include "sim/replay.h"

enum { ARRAYS = 6 }; /* arrival_ns, prompt_tokens, output_tokens, prefix, prefix_tokens, priority */

/* Copies: the replay checks them and then reads them again without the GIL, while another thread may write
 * into the caller's. */
struct arrays {
    int64_t *data[ARRAYS]; /* NULL = None */
    int64_t n;
};

static void arrays_free(struct arrays *arrays) {
    for (int i = 0; i < ARRAYS; i++) PyMem_Free(arrays->data[i]);
}

static bool copy_array(struct arrays *arrays, int i, const Py_buffer *view) {
    const char *format = view->format ? view->format : "B";
    if (view->itemsize != 8 || (*format != 'l' && *format != 'q')) {
        PyErr_SetString(PyExc_TypeError, "arrays of int64 are needed");
        return false;
    }
    int64_t n = view->len / 8;
    if (arrays->n >= 0 && n != arrays->n) {
        PyErr_SetString(PyExc_ValueError, "the arrays have different lengths");
        return false;
    }
    arrays->n = n;
    arrays->data[i] = PyMem_Malloc((size_t)view->len + 1);
    if (arrays->data[i])
        memcpy(arrays->data[i], view->buf, (size_t)view->len);
    else
        PyErr_NoMemory();
    return arrays->data[i] != NULL;
}

/* int64 of the same length each, or None. */
static bool arrays_get(struct arrays *arrays, int i, PyObject *object) {
    Py_buffer view;
    if (object == Py_None) return true;
    if (PyObject_GetBuffer(object, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) return false;
    bool ok = copy_array(arrays, i, &view);
    PyBuffer_Release(&view);
    return ok;
}

static PyObject *replay_failure(enum replay_result result, const struct replay *replay) {
    if (result == REPLAY_NO_MEMORY) return PyErr_NoMemory();
    return PyErr_Format(PyExc_ValueError, "request %lld: %s", (long long)replay->bad, replay_text(result));
}

static PyObject *replay_results(const struct replay *replay, int64_t n) {
    Py_ssize_t step_bytes = replay->steps ? (Py_ssize_t)sizeof *replay->steps * replay->n_steps : 0;
    return Py_BuildValue("(LLy#y#)", (long long)replay->n_steps, (long long)replay->visits,
                         (const char *)replay->requests, (Py_ssize_t)sizeof *replay->requests * n,
                         replay->steps ? (const char *)replay->steps : "", step_bytes);
}

static PyObject *replay_run_arrays(const struct scheduler_config *config, int64_t front_ns,
                                   const struct arrays *arrays, int64_t concurrency, bool want_steps) {
    struct replay_load load = {arrays->n,       arrays->data[0], arrays->data[1], arrays->data[2],
                               arrays->data[3], arrays->data[4], arrays->data[5], concurrency};
    struct replay replay;
    enum replay_result result;
    if (!load.prompt_tokens || !load.output_tokens || (!load.arrival_ns && concurrency < 1)) {
        PyErr_SetString(PyExc_TypeError, "lengths are needed, and arrivals or a concurrency");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    result = replay_run(&replay, config, front_ns, &load, want_steps);
    Py_END_ALLOW_THREADS
    PyObject *value =
        result == REPLAY_OK ? replay_results(&replay, arrays->n) : replay_failure(result, &replay);
    replay_free(&replay);
    return value;
}

PyObject *sim_replay(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *config, *objects[ARRAYS], *result = NULL;
    long long concurrency;
    int want_steps;
    struct arrays arrays = {.n = -1};
    struct scheduler_config parsed = {0};
    int64_t front_ns;
    if (!PyArg_ParseTuple(args, "O!OOOOOOLp:replay", &PyDict_Type, &config, &objects[0], &objects[1],
                          &objects[2], &objects[3], &objects[4], &objects[5], &concurrency, &want_steps))
        return NULL;
    bool ok = sim_get_scheduler(config, &parsed, &front_ns);
    for (int i = 0; ok && i < ARRAYS; i++) ok = arrays_get(&arrays, i, objects[i]);
    if (ok) result = replay_run_arrays(&parsed, front_ns, &arrays, concurrency, want_steps);
    arrays_free(&arrays);
    return result;
}

int sim_add_replay_columns(PyObject *module) {
#define X(name) #name " "
    static const char *const columns[] = {REPLAY_REQUEST(X), REPLAY_STEP(X)};
#undef X
    return PyModule_AddStringConstant(module, "REPLAY_REQUEST", columns[0]) < 0 ||
                   PyModule_AddStringConstant(module, "REPLAY_STEP", columns[1]) < 0
               ? -1
               : 0;
}

/* Owns the Python face of engine/: the Engine type.
 * Gives the GIL up wherever the engine may wait; the engine's own threads never take it. */
#include "module/engine_parts.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/clock.h"
#include "engine/cores.h"

struct py_engine {
    PyObject_HEAD
    struct engine *engine;
    PyObject *module;
    pid_t pid;    /* threads do not live on in a forked child */
    int draining; /* Python threads that wait in the engine without the GIL; changed under the GIL */
};

static struct py_engine *py_engine_of(PyObject *self) {
    return (struct py_engine *)(void *)self;
}

static struct engine *engine_or_raise(PyObject *self) {
    struct py_engine *e = py_engine_of(self);
    if (!e->engine) {
        PyErr_SetString(PyExc_RuntimeError, "this engine is closed");
        return NULL;
    }
    if (e->pid != getpid()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this engine belongs to the parent process: a run does not go on in a fork; "
                        "start a new one here");
        return NULL;
    }
    return e->engine;
}

static PyObject *engine_type_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    PyObject *config;
    static char *names[] = {"config", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!:Engine", names, &PyDict_Type, &config)) return NULL;
    PyObject *module = PyType_GetModule(type);
    struct engine *engine = module ? engine_from(config) : NULL;
    if (!engine) return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (!self) {
        engine_free(engine);
        return NULL;
    }
    py_engine_of(self)->engine = engine;
    py_engine_of(self)->module = Py_NewRef(module);
    py_engine_of(self)->pid = getpid();
    return self;
}

/* ---- methods ---- */

enum { LONGEST_S = 24 * 3600 }; /* that drain() waits in one call */
#define SLICE_NS (50 * NS_PER_MS)

PyDoc_STRVAR(
    feed_doc,
    "feed($self, bodies, offsets, at_ns=None, numbers=None, sessions=None)\n--\n\n"
    "Queue requests: body i is bodies[offsets[i]:offsets[i + 1]], due at at_ns[i] ns after the start. It is\n"
    "called numbers[i] in its id and its record; without numbers they are counted from the first one on.\n\n"
    "sessions: of which session each is, for the configuration's session_header.\n\n"
    "offsets, at_ns, numbers, sessions: int64 in C order (an array or its bytes). Everything is copied. "
    "Times need "
    "not\n"
    "ascend, neither within a feed nor from one to the next: each request leaves when it is due.");

/* Times beyond these 30 years would overflow when the engine adds to them. */
#define FARTHEST_NS INT64_C(1000000000000000000)

/* A copy, since another thread may write into the caller's memory: what is checked is what is used. */
struct int64s {
    int64_t *at;
    Py_ssize_t n;
};

/* Bytes, or int64 of this machine: floats read as int64 would be wild numbers. */
static bool is_int64s(const Py_buffer *view) {
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=' || (*format == '<' && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__))
        format++;
    if (view->itemsize == 1) return view->len % 8 == 0;
    return view->itemsize == 8 && (*format == 'q' || *format == 'l') && format[1] == '\0';
}

static bool get_int64s(PyObject *object, const char *name, struct int64s *to) {
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) return false;
    bool ok = is_int64s(&view);
    if (!ok) PyErr_Format(PyExc_ValueError, "%s must be int64, or the bytes of such an array", name);
    if (ok) {
        to->n = view.len / 8;
        to->at = PyMem_Malloc((size_t)view.len + 1);
        ok = to->at != NULL;
        if (ok)
            memcpy(to->at, view.buf, (size_t)view.len);
        else
            PyErr_NoMemory();
    }
    PyBuffer_Release(&view);
    return ok;
}

static bool check_offsets(struct int64s offsets, Py_ssize_t size) {
    bool ok = offsets.n >= 1 && offsets.at[0] == 0 && offsets.at[offsets.n - 1] <= size;
    for (Py_ssize_t i = 1; ok && i < offsets.n; i++) ok = offsets.at[i - 1] <= offsets.at[i];
    if (!ok) PyErr_SetString(PyExc_ValueError, "offsets must rise from 0 to at most len(bodies)");
    return ok;
}

static bool check_times(struct int64s times, Py_ssize_t n) {
    if (times.n != n) {
        PyErr_SetString(PyExc_ValueError, "offsets must be one more than at_ns");
        return false;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (times.at[i] >= -FARTHEST_NS && times.at[i] <= FARTHEST_NS) continue;
        PyErr_Format(PyExc_ValueError, "at_ns[%zd] is %lld: more than 30 years from the start", i,
                     (long long)times.at[i]);
        return false;
    }
    return true;
}

static bool check_numbers(struct int64s numbers, const char *name, Py_ssize_t n) {
    bool ok = numbers.n == n;
    for (Py_ssize_t i = 0; ok && i < n; i++) ok = numbers.at[i] >= 0;
    if (!ok) PyErr_Format(PyExc_ValueError, "%s must be as many as the bodies, and none negative", name);
    return ok;
}

static PyObject *feed_checked(PyObject *self, const Py_buffer *bodies, struct int64s offsets,
                              struct int64s times, struct int64s numbers, struct int64s sessions) {
    if (!check_offsets(offsets, bodies->len) || (times.at && !check_times(times, offsets.n - 1)) ||
        (numbers.at && !check_numbers(numbers, "numbers", offsets.n - 1)) ||
        (sessions.at && !check_numbers(sessions, "sessions", offsets.n - 1)))
        return NULL;
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    int status = engine_feed(engine, (size_t)(offsets.n - 1), offsets.at, times.at, numbers.at, sessions.at,
                             bodies->buf);
    if (status == 0) Py_RETURN_NONE;
    if (status == -1) return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, "either all feeds have at_ns or none has");
    return NULL;
}

static PyObject *py_feed(PyObject *self, PyObject *args, PyObject *keywords) {
    static char *names[] = {"bodies", "offsets", "at_ns", "numbers", "sessions", NULL};
    PyObject *bodies_object, *offsets_object, *at_ns = Py_None, *own = Py_None, *of = Py_None, *result = NULL;
    Py_buffer bodies;
    struct int64s offsets = {0}, times = {0}, numbers = {0}, sessions = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO|OOO:feed", names, &bodies_object, &offsets_object,
                                     &at_ns, &own, &of))
        return NULL;
    if (PyObject_GetBuffer(bodies_object, &bodies, PyBUF_SIMPLE) != 0) return NULL;
    if (get_int64s(offsets_object, "offsets", &offsets) &&
        (at_ns == Py_None || get_int64s(at_ns, "at_ns", &times)) &&
        (own == Py_None || get_int64s(own, "numbers", &numbers)) &&
        (of == Py_None || get_int64s(of, "sessions", &sessions)))
        result = feed_checked(self, &bodies, offsets, times, numbers, sessions);
    PyMem_Free(offsets.at);
    PyMem_Free(times.at);
    PyMem_Free(numbers.at);
    PyMem_Free(sessions.at);
    PyBuffer_Release(&bodies);
    return result;
}

static PyObject *py_feed_end(PyObject *self, PyObject *unused) {
    (void)unused;
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    engine_feed_end(engine);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    start_doc,
    "start($self, at_real_ns=0)\n--\n\n"
    "Start the engine's threads. The schedule begins at at_real_ns (ns since 1970, UTC); with 0, or a time\n"
    "that has passed, as soon as the connections are open. They are opened a few seconds before.");

#define LATEST_REAL_NS INT64_C(4000000000000000000) /* in 2096 */

static PyObject *py_start(PyObject *self, PyObject *args, PyObject *keywords) {
    static char *names[] = {"at_real_ns", NULL};
    long long at_real_ns = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|L:start", names, &at_real_ns)) return NULL;
    if (at_real_ns < 0 || at_real_ns > LATEST_REAL_NS)
        return PyErr_Format(PyExc_ValueError, "at_real_ns is %lld: give ns since 1970", at_real_ns);
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    int error = engine_start(engine, at_real_ns);
    if (error == 0) Py_RETURN_NONE;
    if (error < 0) {
        PyErr_SetString(PyExc_RuntimeError, "this engine was started before");
        return NULL;
    }
    PyErr_Format(PyExc_OSError, "cannot start a thread: %s", strerror(error));
    return NULL;
}

static PyObject *batch_dict(const struct batch *batch) {
    return Py_BuildValue("{s:y#,s:y#,s:y#,s:y#,s:y#}", "records",
                         (const char *)batch->records ? (const char *)batch->records : "",
                         (Py_ssize_t)(batch->n_records * sizeof *batch->records), "gaps",
                         batch->gaps ? (const char *)batch->gaps : "",
                         (Py_ssize_t)(batch->n_gaps * sizeof *batch->gaps), "stamps",
                         batch->stamps ? (const char *)batch->stamps : "",
                         (Py_ssize_t)(batch->n_stamps * sizeof *batch->stamps), "events",
                         batch->events ? (const char *)batch->events : "",
                         (Py_ssize_t)(batch->n_events * sizeof *batch->events), "bytes",
                         batch->bytes ? batch->bytes : "", (Py_ssize_t)batch->n_bytes);
}

PyDoc_STRVAR(
    drain_doc,
    "drain($self, timeout_s, /)\n--\n\n"
    "Wait until timeout_s has passed or the run has ended, then give the requests that finished.\n\n"
    "A dict of bytes: records (RECORD_DTYPE), gaps (GAP_DTYPE), stamps (STAMP_DTYPE), events\n"
    "(EVENT_DTYPE), bytes (texts and errors); None when the run has ended and everything had been given.");

/* In slices, so that Ctrl-C is noticed. A signal's handler may fork: the engine is asked for again. */
static bool wait_for_end(PyObject *self, int64_t timeout_ns) {
    int64_t until_ns = clock_mono_ns() + timeout_ns;
    for (bool ended = false; !ended;) {
        struct engine *engine = engine_or_raise(self);
        int64_t left_ns = until_ns - clock_mono_ns();
        if (!engine) return false;
        if (left_ns <= 0) return true;
        Py_BEGIN_ALLOW_THREADS
        ended = engine_wait(engine, left_ns < SLICE_NS ? left_ns : SLICE_NS);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() != 0) return false;
    }
    return engine_or_raise(self) != NULL;
}

static PyObject *py_drain(PyObject *self, PyObject *timeout) {
    double timeout_s = PyFloat_AsDouble(timeout);
    if (PyErr_Occurred() || !engine_or_raise(self)) return NULL;
    struct batch batch = {0};
    bool more = false;
    if (!(timeout_s >= 0)) timeout_s = 0;
    if (timeout_s > LONGEST_S) timeout_s = LONGEST_S;
    py_engine_of(self)->draining++; /* so that nobody closes it */
    bool ok = wait_for_end(self, (int64_t)(timeout_s * 1e9));
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        more = engine_drain(py_engine_of(self)->engine, 0, &batch);
        Py_END_ALLOW_THREADS
    }
    py_engine_of(self)->draining--;
    PyObject *result = !ok ? NULL : more ? batch_dict(&batch) : Py_NewRef(Py_None);
    batch_free(&batch);
    return result;
}

static PyObject *py_stop(PyObject *self, PyObject *args, PyObject *keywords) {
    static char *names[] = {"now", NULL};
    int now = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|p:stop", names, &now)) return NULL;
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    engine_stop(engine, now);
    Py_RETURN_NONE;
}

static PyObject *py_counters(PyObject *self, PyObject *unused) {
    (void)unused;
    static const char *const states[] = {"new", "warming", "running", "draining", "ended"};
    static const char *const limits[FAILURES_LIMITS] = {NULL, "max_errors", "max_error_rate"};
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    struct engine_counters c;
    engine_counters(engine, &c);
    return Py_BuildValue("{s:s,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:d,s:L,s:L,s:z}", "state",
                         states[c.state], "start_mono_ns", c.start_mono_ns, "start_real_ns", c.start_real_ns,
                         "sent", c.sent, "in_flight", c.in_flight, "waiting", c.waiting, "done", c.done,
                         "completed", c.completed, "chunks", c.chunks, "connections_opened",
                         c.connections_opened, "silent_retries", c.silent_retries, "coalesced", c.coalesced,
                         "backlog", c.backlog, "lost", c.lost, "cpu_s", (double)c.cpu_ns / 1e9, "threads",
                         c.threads, "multis", c.multis, "gave_up", limits[c.gave_up]);
}

struct lag {
    char name[32]; /* "loop", or "loop.1" of one of several threads */
    struct hist *hist;
};

/* Of all threads, then of each where there are several. */
static struct lag *take_lags(struct engine *engine, enum engine_histogram which, size_t threads,
                             struct lag *lag) {
    static const char *const names[] = {"schedule_lag", "client_lag", "loop", "connect"};
    struct lag *sum = lag++;
    snprintf(sum->name, sizeof sum->name, "%s", names[which]);
    sum->hist = threads > 1 ? hist_new() : engine_histogram(engine, which, 0);
    for (size_t i = 0; threads > 1 && i < threads; i++, lag++) {
        snprintf(lag->name, sizeof lag->name, "%s.%zu", names[which], i);
        lag->hist = engine_histogram(engine, which, i);
        if (sum->hist && lag->hist) hist_merge(sum->hist, lag->hist);
    }
    return lag;
}

static PyObject *lag_dict(PyObject *module, const struct lag *lags, const struct lag *end) {
    PyObject *dict = PyDict_New();
    for (const struct lag *lag = lags; lag < end; lag++) {
        PyObject *histogram = histogram_from(module, lag->hist); /* owns it, also when this fails */
        if (!histogram || (dict && PyDict_SetItemString(dict, lag->name, histogram) != 0)) Py_CLEAR(dict);
        Py_XDECREF(histogram);
    }
    return dict;
}

/* All of them first: making Python objects may run code that closes the engine. */
static PyObject *py_histograms(PyObject *self, PyObject *unused) {
    (void)unused;
    struct engine *engine = engine_or_raise(self);
    struct engine_counters counters;
    if (!engine) return NULL;
    engine_counters(engine, &counters);
    size_t threads = (size_t)counters.threads;
    struct lag *lags = PyMem_Calloc(HISTOGRAM_COUNT * (1 + threads), sizeof *lags), *end = lags;
    if (!lags) return PyErr_NoMemory();
    for (int i = 0; i < HISTOGRAM_COUNT; i++) end = take_lags(engine, (enum engine_histogram)i, threads, end);
    PyObject *dict = lag_dict(py_engine_of(self)->module, lags, end);
    PyMem_Free(lags);
    return dict;
}

/* In a forked child the threads are gone and joining them would wait for ever: leave it all to the exit. */
static void py_release(struct py_engine *e) {
    struct engine *engine = e->engine;
    e->engine = NULL;
    if (!engine || e->pid != getpid()) return;
    Py_BEGIN_ALLOW_THREADS
    engine_free(engine);
    Py_END_ALLOW_THREADS
}

static PyObject *py_close(PyObject *self, PyObject *unused) {
    (void)unused;
    if (py_engine_of(self)->draining > 0 && py_engine_of(self)->pid == getpid()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "another thread drains this engine: py_stop() it and let that end");
        return NULL;
    }
    py_release(py_engine_of(self));
    Py_RETURN_NONE;
}

static void py_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    py_release(py_engine_of(self));
    Py_XDECREF(py_engine_of(self)->module);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_object(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"feed", (PyCFunction)(void (*)(void))py_feed, METH_VARARGS | METH_KEYWORDS, feed_doc},
    {"feed_end", py_feed_end, METH_NOARGS, "feed_end($self, /)\n--\n\nNo more requests will come."},
    {"start", (PyCFunction)(void (*)(void))py_start, METH_VARARGS | METH_KEYWORDS, start_doc},
    {"drain", py_drain, METH_O, drain_doc},
    {"stop", (PyCFunction)(void (*)(void))py_stop, METH_VARARGS | METH_KEYWORDS,
     "stop($self, now=False)\n--\n\nSend no more; with now, cut what is in flight."},
    {"counters", py_counters, METH_NOARGS, "counters($self, /)\n--\n\nLive figures."},
    {"histograms", py_histograms, METH_NOARGS,
     "histograms($self, /)\n--\n\nLags so far, at most a second old, and of each of several threads."},
    {"close", py_close, METH_NOARGS, "close($self, /)\n--\n\nEnd the run if it goes on and free everything."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Engine(config)\n--\n\nFires requests from threads of its own, which never take the GIL.\n\n"
                "config: a dict with every key of vllmperf.loadgen.run.engine_config()."},
    {Py_tp_new, engine_type_new},
    {Py_tp_dealloc, py_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "vllmperf._engine.Engine",
    .basicsize = sizeof(struct py_engine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

static PyObject *usable_cores(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyLong_FromLongLong(cores_usable());
}

static PyMethodDef functions[] = {
    {"usable_cores", usable_cores, METH_NOARGS,
     "usable_cores($module, /)\n--\n\nCores by CPU affinity and the limits of control groups, at least 1."},
    {NULL, NULL, 0, NULL},
};

int add_engine(PyObject *module) {
    struct module_state *state = PyModule_GetState(module);
    if (PyModule_AddFunctions(module, functions) != 0) return -1;
    state->engine_type = PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->engine_type ? PyModule_AddObjectRef(module, "Engine", state->engine_type) : -1;
}

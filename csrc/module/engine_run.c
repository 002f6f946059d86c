/* Owns the Python face of engine/: the Engine type.
 * Gives the GIL up wherever the engine may wait; the engine's own threads never take it. */
#include "module/parts.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"

struct py_engine {
    PyObject_HEAD struct engine *engine;
    PyObject *module;
    pid_t pid;    /* threads do not live on in a forked child */
    int draining; /* Python threads that wait in the engine without the GIL; changed under the GIL */
};

static struct py_engine *of(PyObject *self) {
    return (struct py_engine *)(void *)self;
}

static struct engine *engine_or_raise(PyObject *self) {
    struct py_engine *e = of(self);
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

/* ---- configuration: one table of keys for each type ---- */

struct number_key {
    const char *name;
    size_t offset;
};

#define NUMBER(name)                                                                                         \
    { #name, offsetof(struct engine_config, name) }
static const struct number_key number_keys[] = {
    NUMBER(max_concurrency),
    NUMBER(max_in_flight_hint),
    NUMBER(threads),
    NUMBER(multis),
    NUMBER(warm_connections),
    NUMBER(spin_ns),
    NUMBER(connect_timeout_ns),
    NUMBER(first_token_timeout_ns),
    NUMBER(stall_timeout_ns),
    NUMBER(total_timeout_ns),
    NUMBER(duration_ns),
    NUMBER(grace_ns),
    NUMBER(max_event_bytes),
};
static const struct number_key flag_keys[] = {
    NUMBER(kernel_stamps), NUMBER(keep_text),         NUMBER(keep_stamps),
    NUMBER(insecure),      NUMBER(fresh_connections),
};
/* May be missing: false. */
static const struct number_key optional_flag_keys[] = {
    NUMBER(keep_events),      NUMBER(raw_bodies),        NUMBER(no_request_ids), NUMBER(uuid_request_ids),
    NUMBER(follow_redirects), NUMBER(spare_connections), NUMBER(use_libcurl),
};
static const struct number_key text_keys[] = {
    NUMBER(url),
    NUMBER(request_id_prefix),
    NUMBER(warm_url),
    NUMBER(cacert),
};
#undef NUMBER
#define COUNT(table) (sizeof(table) / sizeof(table)[0])
enum { N_LISTS = 2 };

static PyObject *get_key(PyObject *config, const char *name) {
    PyObject *value = PyDict_GetItemString(config, name);
    if (!value) PyErr_Format(PyExc_ValueError, "the engine's configuration lacks '%s'", name);
    return value;
}

static bool get_numbers(PyObject *config, struct engine_config *to) {
    for (size_t i = 0; i < COUNT(number_keys); i++) {
        PyObject *value = get_key(config, number_keys[i].name);
        if (!value) return false;
        int64_t number = PyLong_AsLongLong(value);
        if (number == -1 && PyErr_Occurred()) return false;
        if (number < 0) {
            PyErr_Format(PyExc_ValueError, "'%s' must not be negative", number_keys[i].name);
            return false;
        }
        memcpy((char *)to + number_keys[i].offset, &number, sizeof number);
    }
    for (size_t i = 0; i < COUNT(flag_keys); i++) {
        PyObject *value = get_key(config, flag_keys[i].name);
        int truth = value ? PyObject_IsTrue(value) : -1;
        if (truth < 0) return false;
        bool flag = truth == 1;
        memcpy((char *)to + flag_keys[i].offset, &flag, sizeof flag);
    }
    return true;
}

static bool get_optional_flags(PyObject *config, struct engine_config *to) {
    for (size_t i = 0; i < COUNT(optional_flag_keys); i++) {
        PyObject *value = PyDict_GetItemString(config, optional_flag_keys[i].name);
        int truth = value ? PyObject_IsTrue(value) : 0;
        if (truth < 0) return false;
        bool flag = truth == 1;
        memcpy((char *)to + optional_flag_keys[i].offset, &flag, sizeof flag);
    }
    return true;
}

static bool get_texts(PyObject *config, struct engine_config *to) {
    for (size_t i = 0; i < COUNT(text_keys); i++) {
        PyObject *value = get_key(config, text_keys[i].name);
        const char *text = value ? PyUnicode_AsUTF8AndSize(value, NULL) : NULL;
        if (!text) return false;
        memcpy((char *)to + text_keys[i].offset, &text, sizeof text);
    }
    return true;
}

/* The strings of a list of str, borrowed from it. */
static const char **get_list(PyObject *config, const char *name, size_t *n) {
    PyObject *list = get_key(config, name);
    if (!list) return NULL;
    if (!PyList_Check(list)) {
        PyErr_Format(PyExc_TypeError, "'%s' must be a list of str", name);
        return NULL;
    }
    *n = (size_t)PyList_Size(list);
    const char **texts = PyMem_Malloc((*n + 1) * sizeof *texts);
    if (!texts) PyErr_NoMemory();
    for (size_t i = 0; texts && i < *n; i++) {
        texts[i] = PyUnicode_AsUTF8AndSize(PyList_GetItem(list, (Py_ssize_t)i), NULL);
        if (texts[i]) continue;
        PyMem_Free(texts);
        return NULL;
    }
    return texts;
}

static bool has_only_known_keys(PyObject *config) {
    Py_ssize_t known = (Py_ssize_t)(COUNT(number_keys) + COUNT(flag_keys) + COUNT(text_keys)) + N_LISTS;
    for (size_t i = 0; i < COUNT(optional_flag_keys); i++)
        known += PyDict_GetItemString(config, optional_flag_keys[i].name) != NULL;
    if (PyDict_Size(config) == known) return true;
    PyErr_Format(PyExc_ValueError, "the engine's configuration has %zd keys, %zd are known",
                 PyDict_Size(config), known);
    return false;
}

static struct engine *engine_from(PyObject *config) {
    struct engine_config c = {0};
    struct engine *engine = NULL;
    char error[160];
    if (!get_numbers(config, &c) || !get_optional_flags(config, &c) || !get_texts(config, &c)) return NULL;
    const char **addresses = get_list(config, "addresses", &c.n_addresses);
    const char **headers = addresses ? get_list(config, "headers", &c.n_headers) : NULL;
    if (headers && has_only_known_keys(config)) {
        c.addresses = addresses;
        c.headers = headers;
        engine = engine_new(&c, error, sizeof error);
        if (!engine) PyErr_SetString(PyExc_OSError, error);
    }
    PyMem_Free(addresses);
    PyMem_Free(headers);
    return engine;
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
    of(self)->engine = engine;
    of(self)->module = Py_NewRef(module);
    of(self)->pid = getpid();
    return self;
}

/* ---- methods ---- */

PyDoc_STRVAR(
    feed_doc,
    "feed($self, bodies, offsets, at_ns=None)\n--\n\n"
    "Queue requests: body i is bodies[offsets[i]:offsets[i + 1]], due at at_ns[i] ns after the start.\n\n"
    "offsets, at_ns: int64 in C order (an array or its bytes). Everything is copied.");

static bool check_offsets(const Py_buffer *bodies, const Py_buffer *offsets, const Py_buffer *times) {
    const int64_t *at = offsets->buf;
    Py_ssize_t n = offsets->len / 8 - 1;
    bool ok = offsets->len % 8 == 0 && n >= 0 && at[0] == 0 && at[n] <= bodies->len;
    for (Py_ssize_t i = 0; ok && i < n; i++) ok = at[i] <= at[i + 1];
    ok = ok && (!times->obj || times->len == n * 8);
    if (!ok)
        PyErr_SetString(PyExc_ValueError,
                        "offsets must rise from 0 to at most len(bodies), at_ns must have one a body");
    return ok;
}

static PyObject *feed(PyObject *self, PyObject *args, PyObject *keywords) {
    static char *names[] = {"bodies", "offsets", "at_ns", NULL};
    Py_buffer bodies, offsets, times = {0};
    PyObject *at_ns = Py_None, *result = NULL;
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "y*y*|O:feed", names, &bodies, &offsets, &at_ns))
        return NULL;
    bool ok = at_ns == Py_None || PyObject_GetBuffer(at_ns, &times, PyBUF_C_CONTIGUOUS) == 0;
    if (ok && check_offsets(&bodies, &offsets, &times)) {
        int status = engine_feed(engine, (size_t)(offsets.len / 8 - 1), offsets.buf,
                                 times.obj ? times.buf : NULL, bodies.buf);
        if (status == 0) result = Py_NewRef(Py_None);
        if (status == -1) PyErr_NoMemory();
        if (status == -2) PyErr_SetString(PyExc_ValueError, "either all feeds have at_ns or none has");
    }
    if (times.obj) PyBuffer_Release(&times);
    PyBuffer_Release(&offsets);
    PyBuffer_Release(&bodies);
    return result;
}

static PyObject *feed_end(PyObject *self, PyObject *unused) {
    (void)unused;
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    engine_feed_end(engine);
    Py_RETURN_NONE;
}

static PyObject *start(PyObject *self, PyObject *unused) {
    (void)unused;
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    int error = engine_start(engine);
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

static PyObject *drain(PyObject *self, PyObject *timeout) {
    double timeout_s = PyFloat_AsDouble(timeout);
    struct engine *engine = PyErr_Occurred() ? NULL : engine_or_raise(self);
    if (!engine) return NULL;
    struct batch batch = {0};
    bool more;
    if (!(timeout_s >= 0)) timeout_s = 0;
    if (timeout_s > 3600) timeout_s = 3600;
    of(self)->draining++;
    Py_BEGIN_ALLOW_THREADS more = engine_drain(engine, (int64_t)(timeout_s * 1e9), &batch);
    Py_END_ALLOW_THREADS of(self)->draining--;
    PyObject *result = more ? batch_dict(&batch) : Py_NewRef(Py_None);
    batch_free(&batch);
    return result;
}

static PyObject *stop(PyObject *self, PyObject *args, PyObject *keywords) {
    static char *names[] = {"now", NULL};
    int now = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|p:stop", names, &now)) return NULL;
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    engine_stop(engine, now);
    Py_RETURN_NONE;
}

static PyObject *counters(PyObject *self, PyObject *unused) {
    (void)unused;
    static const char *const states[] = {"new", "warming", "running", "draining", "ended"};
    struct engine *engine = engine_or_raise(self);
    if (!engine) return NULL;
    struct engine_counters c;
    engine_counters(engine, &c);
    return Py_BuildValue("{s:s,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:d,s:L,s:L}", "state",
                         states[c.state], "start_mono_ns", c.start_mono_ns, "start_real_ns", c.start_real_ns,
                         "sent", c.sent, "in_flight", c.in_flight, "done", c.done, "completed", c.completed,
                         "chunks", c.chunks, "connections_opened", c.connections_opened, "silent_retries",
                         c.silent_retries, "coalesced", c.coalesced, "backlog", c.backlog, "cpu_s",
                         (double)c.cpu_ns / 1e9, "threads", c.threads, "multis", c.multis);
}

static PyObject *histograms(PyObject *self, PyObject *unused) {
    (void)unused;
    static const char *const names[] = {"schedule_lag", "client_lag", "loop", "connect"};
    struct engine *engine = engine_or_raise(self);
    PyObject *dict = engine ? PyDict_New() : NULL;
    for (int i = 0; dict && i < HISTOGRAM_COUNT; i++) {
        PyObject *histogram =
            histogram_from(of(self)->module, engine_histogram(engine, (enum engine_histogram)i));
        if (!histogram || PyDict_SetItemString(dict, names[i], histogram) != 0) Py_CLEAR(dict);
        Py_XDECREF(histogram);
    }
    return dict;
}

/* In a forked child the threads are gone and joining them would wait for ever: leave it all to the exit. */
static void release(struct py_engine *e) {
    struct engine *engine = e->engine;
    e->engine = NULL;
    if (!engine || e->pid != getpid()) return;
    Py_BEGIN_ALLOW_THREADS engine_free(engine);
    Py_END_ALLOW_THREADS
}

static PyObject *close_engine(PyObject *self, PyObject *unused) {
    (void)unused;
    if (of(self)->draining > 0 && of(self)->pid == getpid()) {
        PyErr_SetString(PyExc_RuntimeError, "another thread drains this engine: stop() it and let that end");
        return NULL;
    }
    release(of(self));
    Py_RETURN_NONE;
}

static void dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    release(of(self));
    Py_XDECREF(of(self)->module);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_object(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"feed", (PyCFunction)(void (*)(void))feed, METH_VARARGS | METH_KEYWORDS, feed_doc},
    {"feed_end", feed_end, METH_NOARGS, "feed_end($self, /)\n--\n\nNo more requests will come."},
    {"start", start, METH_NOARGS, "start($self, /)\n--\n\nStart the engine's threads."},
    {"drain", drain, METH_O, drain_doc},
    {"stop", (PyCFunction)(void (*)(void))stop, METH_VARARGS | METH_KEYWORDS,
     "stop($self, now=False)\n--\n\nSend no more; with now, cut what is in flight."},
    {"counters", counters, METH_NOARGS, "counters($self, /)\n--\n\nLive figures."},
    {"histograms", histograms, METH_NOARGS, "histograms($self, /)\n--\n\nLags so far, at most a second old."},
    {"close", close_engine, METH_NOARGS,
     "close($self, /)\n--\n\nEnd the run if it goes on and free everything."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Engine(config)\n--\n\nFires requests from threads of its own, which never take the GIL.\n\n"
                "config: a dict with every key of vllmperf.load.run.engine_config()."},
    {Py_tp_new, engine_type_new},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "vllmperf._engine.Engine",
    .basicsize = sizeof(struct py_engine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int add_engine(PyObject *module) {
    struct module_state *state = PyModule_GetState(module);
    state->engine_type = PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->engine_type ? PyModule_AddObjectRef(module, "Engine", state->engine_type) : -1;
}

/* Owns the _engine module: its state, and the tables of record.h as Python values.
 * What the module can do is in engine_run.c, engine_stats.c and engine_stream.c. */
#include "module/parts.h"

#include <curl/curl.h>
#include <pthread.h>

#include "engine/failures.h"
#include "stats/record.h"

struct field {
    const char *format, *name;
};

static const struct field record_fields[] = {
#define X(ctype, format, name) {format, #name},
    RECORD_FIELDS(X)
#undef X
        {NULL, NULL}};
static const struct field gap_fields[] = {{"<f4", "ns"}, {"<u2", "tokens"}, {"<u2", "shared"}, {NULL, NULL}};
static const struct field stamp_fields[] = {{"<i8", "arrived_ns"}, {"<i8", "seen_ns"}, {NULL, NULL}};

static const struct field event_fields[] = {
    {"<i8", "arrived_ns"}, {"<i8", "seen_ns"}, {"<u4", "flags"}, {"<u4", "text_bytes"}, {NULL, NULL}};
static const char *const event_flags[] = {
#define X(bit, name) #name,
    EVENT_FLAGS(X)
#undef X
        NULL};

static const char *const outcomes[] = {
#define X(name) #name,
    OUTCOMES(X)
#undef X
        NULL};
static const char *const finish_reasons[] = {
#define X(name) #name,
    FINISH_REASONS(X)
#undef X
        NULL};
static const char *const tokens_sources[] = {"none", "usage", "token_ids", "chunks", "tokenizer", NULL};
static const char *const body_kinds[] = {"none", "stream", "json", "error", "other", NULL};

/* Add a new reference to the module; 0 or -1. */
static int module_add(PyObject *module, const char *name, PyObject *value) {
    int status = value ? PyModule_AddObjectRef(module, name, value) : -1;
    Py_XDECREF(value);
    return status;
}

static PyObject *module_dtype(const struct field *fields) {
    PyObject *list = PyList_New(0);
    for (; list && fields->name; fields++) {
        PyObject *pair = Py_BuildValue("ss", fields->name, fields->format);
        if (!pair || PyList_Append(list, pair) != 0) Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

static PyObject *module_names(const char *const *texts) {
    PyObject *list = PyList_New(0), *tuple;
    for (; list && *texts; texts++) {
        PyObject *text = PyUnicode_FromString(*texts);
        if (!text || PyList_Append(list, text) != 0) Py_CLEAR(list);
        Py_XDECREF(text);
    }
    if (!list) return NULL;
    tuple = PyList_AsTuple(list);
    Py_DECREF(list);
    return tuple;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void start_libcurl(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int only_main_interpreter(void) {
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) == 0) return 0;
    PyErr_SetString(PyExc_ImportError,
                    "vllmperf runs in the main interpreter only, not in a sub-interpreter");
    return -1;
}

static int engine_exec(PyObject *module) {
    if (only_main_interpreter() != 0) return -1;
    pthread_once(&once, start_libcurl);
    int failed = module_add(module, "RECORD_DTYPE", module_dtype(record_fields)) ||
                 module_add(module, "GAP_DTYPE", module_dtype(gap_fields)) ||
                 module_add(module, "STAMP_DTYPE", module_dtype(stamp_fields)) ||
                 module_add(module, "EVENT_DTYPE", module_dtype(event_fields)) ||
                 module_add(module, "EVENT_FLAGS", module_names(event_flags)) ||
                 module_add(module, "OUTCOMES", module_names(outcomes)) ||
                 module_add(module, "FINISH_REASONS", module_names(finish_reasons)) ||
                 module_add(module, "TOKENS_SOURCES", module_names(tokens_sources)) ||
                 module_add(module, "BODY_KINDS", module_names(body_kinds)) ||
                 module_add(module, "FAILURES_WINDOW", PyLong_FromLong(FAILURES_WINDOW)) ||
                 module_add(module, "NONE", PyLong_FromLongLong(RECORD_NONE)) ||
                 module_add(module, "LIBCURL_VERSION", PyUnicode_FromString(curl_version())) ||
                 add_stats(module) || add_stream(module) || add_scan(module) || add_engine(module);
    return failed ? -1 : 0;
}

static int engine_traverse(PyObject *module, visitproc visit, void *arg) {
    struct module_state *state = PyModule_GetState(module);
    if (!state) return 0;
    Py_VISIT(state->histogram_type);
    Py_VISIT(state->engine_type);
    return 0;
}

static int engine_clear(PyObject *module) {
    struct module_state *state = PyModule_GetState(module);
    if (!state) return 0;
    Py_CLEAR(state->histogram_type);
    Py_CLEAR(state->engine_type);
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, engine_exec}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "vllmperf._engine",
    .m_doc = "The C core: load engine, stream parsers, percentile math.",
    .m_size = sizeof(struct module_state),
    .m_slots = slots,
    .m_traverse = engine_traverse,
    .m_clear = engine_clear,
};

PyMODINIT_FUNC PyInit__engine(void) {
    return PyModuleDef_Init(&definition);
}

/* Owns the extension module vllmperf._sim: the Server type, the table of faults, the replay for Python.
 * Does not check settings for people: vllmperf/sim/config.py does. */
#include <Python.h>

#include <unistd.h>

#include "module/sim_parts.h"
#include "sim/server.h"

struct module_state {
    PyObject *server_type;
};

struct server_object {
    PyObject head;
    struct server *server;
    pid_t pid; /* of the process that made it: a child has no thread of it */
};

/* ---- Server ---- */

static PyObject *server_new_object(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"config", NULL};
    PyObject *config;
    struct sim_config parsed = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!:Server", names, &PyDict_Type, &config)) return NULL;
    if (!sim_get_config(config, &parsed)) {
        sim_config_free(&parsed);
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct server_object *self = (struct server_object *)allocate(type, 0);
    if (self == NULL) {
        sim_config_free(&parsed);
        return NULL;
    }
    self->pid = getpid();
    self->server = server_new(&parsed);
    if (self->server == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void server_dealloc(PyObject *object) {
    struct server_object *self = (struct server_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->server && self->pid == getpid()) {
        Py_BEGIN_ALLOW_THREADS
        server_free(self->server);
        Py_END_ALLOW_THREADS
    } else if (self->server) {
        server_forget(self->server);
    }
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static bool is_ours(const struct server_object *self) {
    if (self->pid == getpid()) return true;
    PyErr_SetString(PyExc_RuntimeError, "this simulated server belongs to the process before fork()");
    return false;
}

static PyObject *os_error(int number, const char *message) {
    PyObject *value = Py_BuildValue("(is)", number, message);
    if (value) PyErr_SetObject(PyExc_OSError, value);
    Py_XDECREF(value);
    return NULL;
}

static PyObject *server_start_method(PyObject *object, PyObject *unused) {
    (void)unused;
    struct server_object *self = (struct server_object *)object;
    char error[300] = "";
    int number;
    if (!is_ours(self)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    number = server_start(self->server, error, sizeof error);
    Py_END_ALLOW_THREADS
    if (number) return os_error(number, error);
    Py_RETURN_NONE;
}

static PyObject *server_stop_method(PyObject *object, PyObject *unused) {
    (void)unused;
    struct server_object *self = (struct server_object *)object;
    int number;
    if (self->pid != getpid()) Py_RETURN_NONE;
    Py_BEGIN_ALLOW_THREADS
    number = server_stop(self->server);
    Py_END_ALLOW_THREADS
    if (number) return os_error(number, "the truth file is not complete");
    Py_RETURN_NONE;
}

static PyObject *server_stats_method(PyObject *object, PyObject *unused) {
    (void)unused;
    struct server_object *self = (struct server_object *)object;
    const struct sim_counters *counters = server_counters(self->server);
    PyObject *stats = PyDict_New();
#define X(name)                                                                                              \
    if (stats) {                                                                                             \
        PyObject *value = PyLong_FromLongLong(atomic_load_explicit(&counters->name, memory_order_relaxed));  \
        if (value == NULL || PyDict_SetItemString(stats, #name, value) < 0) Py_CLEAR(stats);                 \
        Py_XDECREF(value);                                                                                   \
    }
    SIM_COUNTERS(X)
#undef X
    return stats;
}

static PyObject *server_set_ready_method(PyObject *object, PyObject *ready) {
    struct server_object *self = (struct server_object *)object;
    int truth = PyObject_IsTrue(ready);
    if (truth < 0) return NULL;
    server_set_ready(self->server, truth);
    Py_RETURN_NONE;
}

static PyObject *server_get_port(PyObject *object, void *unused) {
    (void)unused;
    return PyLong_FromLong(server_port(((struct server_object *)object)->server));
}

static PyObject *server_get_running(PyObject *object, void *unused) {
    (void)unused;
    struct server_object *self = (struct server_object *)object;
    return PyBool_FromLong(self->pid == getpid() && server_is_running(self->server));
}

static PyMethodDef server_methods[] = {
    {"start", server_start_method, METH_NOARGS, "Listen and answer. OSError when that is not possible."},
    {"stop", server_stop_method, METH_NOARGS,
     "End all connections and close the truth file. Again is no error."},
    {"stats", server_stats_method, METH_NOARGS, "Counters since the start."},
    {"set_ready", server_set_ready_method, METH_O, "Whether requests are answered, else all get 503."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"port", server_get_port, NULL, "Port that it listens on, 0 when it is not running.", NULL},
    {"running", server_get_running, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_new, server_new_object},
    {Py_tp_dealloc, server_dealloc},
    {Py_tp_methods, server_methods},
    {Py_tp_getset, server_getset},
    {Py_tp_doc, "Server(config): a simulated vLLM server on a thread of its own."},
    {0, NULL},
};

static PyType_Spec server_spec = {
    .name = "vllmperf._sim.Server",
    .basicsize = sizeof(struct server_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = server_slots,
};

/* ---- module ---- */

/* ((name, default, meaning), ...) of one fault. */
static PyObject *fault_parameters(const struct fault_info *info) {
    int n = 0;
    while (n < FAULT_PARAMETERS && info->parameters[n].name) n++;
    PyObject *tuple = PyTuple_New(n);
    for (int i = 0; tuple && i < n; i++) {
        const struct fault_parameter *p = &info->parameters[i];
        PyObject *one = Py_BuildValue("(sLs)", p->name, (long long)p->value, p->meaning);
        if (one == NULL || PyTuple_SetItem(tuple, i, one) < 0) Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *fault_tuple(void) {
    PyObject *tuple = PyTuple_New(FAULT_KINDS);
    for (int kind = 0; tuple && kind < FAULT_KINDS; kind++) {
        const struct fault_info *info = &fault_table[kind];
        PyObject *of_connection = info->of_connection ? Py_True : Py_False;
        PyObject *one =
            Py_BuildValue("(ssNO)", info->name, info->meaning, fault_parameters(info), of_connection);
        if (one == NULL || PyTuple_SetItem(tuple, kind, one) < 0) Py_CLEAR(tuple);
    }
    return tuple;
}

static int module_exec(PyObject *module) {
    struct module_state *state = PyModule_GetState(module);
    state->server_type = PyType_FromModuleAndSpec(module, &server_spec, NULL);
    if (state->server_type == NULL || PyModule_AddObjectRef(module, "Server", state->server_type) < 0)
        return -1;
    PyObject *faults = fault_tuple();
    int result = faults ? PyModule_AddObjectRef(module, "FAULTS", faults) : -1;
    Py_XDECREF(faults);
    return result < 0 ? result : sim_add_replay_columns(module);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    struct module_state *state = PyModule_GetState(module);
    Py_VISIT(state->server_type);
    return 0;
}

static int module_clear(PyObject *module) {
    struct module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->server_type);
    return 0;
}

static PyMethodDef module_methods[] = {
    {"replay", sim_replay, METH_VARARGS, "The batching engine in virtual time; see vllmperf.sim.replay."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "vllmperf._sim",
    .m_doc = "The simulated server.",
    .m_size = sizeof(struct module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__sim(void) {
    return PyModuleDef_Init(&module_def);
}

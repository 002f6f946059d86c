/* Owns the Python faces of stats/: Histogram, quantile, moments.
 * Does no arithmetic of its own. */
#include "module/parts.h"

#include <stdbool.h>
#include <string.h>

#include "stats/quantile.h"

/* ---- arrays from any object with a buffer of one of our three types ---- */

/* 'd', 'f', 'q' (float64, float32, int64 in this machine's byte order) or '\0'. */
static char type_of(const Py_buffer *view) {
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=' || (*format == '<' && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__))
        format++;
    if (format[0] == '\0' || format[1] != '\0') return '\0';
    if (format[0] == 'd' || format[0] == 'f') return format[0];
    return (format[0] == 'l' || format[0] == 'q') && view->itemsize == 8 ? 'q' : '\0';
}

static bool stats_get_array(PyObject *object, Py_buffer *view, char *type) {
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) return false;
    *type = type_of(view);
    if (!*type)
        PyErr_Format(PyExc_TypeError,
                     "an array of float64, float32 or int64 is needed, not one of format '%s'",
                     view->format ? view->format : "B");
    else if ((uintptr_t)view->buf % (uintptr_t)view->itemsize)
        PyErr_SetString(PyExc_ValueError, "the array is not aligned in memory; copy it first");
    else
        return true;
    PyBuffer_Release(view);
    return false;
}

/* The same for functions that know no int64. */
static bool get_floats(PyObject *object, Py_buffer *view, bool *is_f64) {
    char type;
    if (!stats_get_array(object, view, &type)) return false;
    *is_f64 = type == 'd';
    if (type != 'q') return true;
    PyErr_SetString(PyExc_TypeError, "an array of float64 or float32 is needed, not one of int64");
    PyBuffer_Release(view);
    return false;
}

static size_t stats_length(const Py_buffer *view) {
    return (size_t)(view->len / view->itemsize);
}

static bool get_quantiles(PyObject *object, double **q, Py_ssize_t *n) {
    PyObject *list = PySequence_List(object);
    if (!list) return false;
    *n = PyList_Size(list);
    *q = PyMem_Malloc(((size_t)*n + 1) * sizeof **q);
    bool ok = *q != NULL;
    if (!ok) PyErr_NoMemory();
    for (Py_ssize_t i = 0; ok && i < *n; i++) {
        (*q)[i] = PyFloat_AsDouble(PyList_GetItem(list, i));
        ok = !PyErr_Occurred();
    }
    Py_DECREF(list);
    if (!ok) PyMem_Free(*q);
    return ok;
}

static PyObject *float_list(const double *values, Py_ssize_t n) {
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list && i < n; i++) {
        PyObject *value = PyFloat_FromDouble(values[i]);
        if (!value || PyList_SetItem(list, i, value) != 0) Py_CLEAR(list);
    }
    return list;
}

static PyObject *raise_status(enum quantile_status status) {
    if (status == QUANTILE_BAD_Q)
        PyErr_SetString(PyExc_ValueError, "every quantile must be within 0 and 1");
    else
        PyErr_NoMemory();
    return NULL;
}

PyDoc_STRVAR(quantile_doc,
             "quantile($module, values, q, /)\n--\n\n"
             "Exact quantiles of a float32 or float64 array of any order.\n\n"
             "q: numbers within 0 and 1. Returns a list of float, NaN for an empty array or one with a NaN.\n"
             "Arithmetic is float64, also for float32: the bits are those of\n"
             "numpy.quantile(values.astype(numpy.float64), q).\n"
             "Raises ValueError for a q out of range, TypeError for another kind of array.");

/* The values are counted in one pass and gathered in another. What another thread writes in between would
 * not fit into what was counted, so the passes read a copy, made under the GIL. */
static PyObject *quantiles_of(const Py_buffer *view, bool is_f64, const double *q, Py_ssize_t n_q) {
    double *out = PyMem_Malloc(((size_t)n_q + 1) * sizeof *out);
    void *values = PyMem_Malloc((size_t)view->len + 1);
    enum quantile_status status = QUANTILE_NO_MEMORY;
    if (out && values) {
        memcpy(values, view->buf, (size_t)view->len);
        Py_BEGIN_ALLOW_THREADS
        status = is_f64 ? quantile_f64(values, stats_length(view), q, (size_t)n_q, out)
                        : quantile_f32(values, stats_length(view), q, (size_t)n_q, out);
        Py_END_ALLOW_THREADS
    }
    PyObject *result = status == QUANTILE_OK ? float_list(out, n_q) : raise_status(status);
    PyMem_Free(values);
    PyMem_Free(out);
    return result;
}

static PyObject *py_quantile(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *values, *wanted, *result = NULL;
    Py_buffer view;
    bool is_f64;
    double *q;
    Py_ssize_t n_q;
    if (!PyArg_ParseTuple(args, "OO:quantile", &values, &wanted) || !get_quantiles(wanted, &q, &n_q))
        return NULL;
    if (get_floats(values, &view, &is_f64)) {
        result = quantiles_of(&view, is_f64, q, n_q);
        PyBuffer_Release(&view);
    }
    PyMem_Free(q);
    return result;
}

PyDoc_STRVAR(moments_doc,
             "moments($module, values, /)\n--\n\n"
             "Mean and population variance of a float32 or float64 array; NaN when it is empty.");

static PyObject *py_moments(PyObject *module, PyObject *values) {
    (void)module;
    Py_buffer view;
    bool is_f64;
    double mean, variance;
    if (!get_floats(values, &view, &is_f64)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    if (is_f64)
        moments_f64(view.buf, stats_length(&view), &mean, &variance);
    else
        moments_f32(view.buf, stats_length(&view), &mean, &variance);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    return Py_BuildValue("dd", mean, variance);
}

/* ---- Histogram ---- */

struct histogram {
    PyObject_HEAD
    struct hist *hist;
};

static struct hist *hist_of(PyObject *self) {
    return ((struct histogram *)(void *)self)->hist;
}

static PyObject *stats_wrap(PyTypeObject *type, struct hist *owned) {
    if (!owned) return PyErr_NoMemory();
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self)
        ((struct histogram *)(void *)self)->hist = owned;
    else
        hist_free(owned);
    return self;
}

PyObject *histogram_from(PyObject *module, struct hist *owned) {
    struct module_state *state = PyModule_GetState(module);
    return stats_wrap((PyTypeObject *)(void *)state->histogram_type, owned);
}

static PyObject *histogram_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    if (PyTuple_Size(args) != 0 || (keywords && PyDict_Size(keywords) != 0)) {
        PyErr_SetString(PyExc_TypeError, "Histogram() takes no arguments");
        return NULL;
    }
    return stats_wrap(type, hist_new());
}

static void histogram_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    hist_free(hist_of(self));
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static bool add_float(struct hist *hist, double value) {
    if (value != value) return false;
    hist_add(hist, value >= 9.2e18 ? INT64_MAX : value > 0 ? (int64_t)(value + 0.5) : 0, 1);
    return true;
}

/* False when there is a NaN. */
static bool add_values(struct hist *hist, const Py_buffer *view, char type) {
    size_t n = stats_length(view);
    bool ok = true;
    if (type == 'q')
        for (size_t i = 0; i < n; i++) hist_add(hist, ((const int64_t *)view->buf)[i], 1);
    else if (type == 'd')
        for (size_t i = 0; ok && i < n; i++) ok = add_float(hist, ((const double *)view->buf)[i]);
    else
        for (size_t i = 0; ok && i < n; i++) ok = add_float(hist, (double)((const float *)view->buf)[i]);
    return ok;
}

/* Into another histogram first: without the GIL others may use this one, and a NaN leaves it as it was. */
static bool add_array(struct hist *into, const Py_buffer *view, char type) {
    struct hist *fresh = hist_new();
    bool ok = fresh != NULL;
    if (!ok) {
        PyErr_NoMemory();
        return false;
    }
    Py_BEGIN_ALLOW_THREADS
    ok = add_values(fresh, view, type);
    Py_END_ALLOW_THREADS
    if (ok)
        hist_merge(into, fresh);
    else
        PyErr_SetString(PyExc_ValueError, "a NaN has no place in a histogram");
    hist_free(fresh);
    return ok;
}

static PyObject *histogram_add(PyObject *self, PyObject *values) {
    if (PyLong_Check(values)) {
        int64_t value = PyLong_AsLongLong(values);
        if (value == -1 && PyErr_Occurred()) return NULL;
        hist_add(hist_of(self), value, 1);
        Py_RETURN_NONE;
    }
    Py_buffer view;
    char type;
    if (!stats_get_array(values, &view, &type)) return NULL;
    bool ok = add_array(hist_of(self), &view, type);
    PyBuffer_Release(&view);
    if (!ok) return NULL;
    Py_RETURN_NONE;
}

static PyObject *histogram_merge(PyObject *self, PyObject *other) {
    if (Py_TYPE(other) != Py_TYPE(self)) {
        PyErr_SetString(PyExc_TypeError, "merge needs a Histogram");
        return NULL;
    }
    hist_merge(hist_of(self), hist_of(other));
    Py_RETURN_NONE;
}

static PyObject *histogram_quantile(PyObject *self, PyObject *argument) {
    double q = PyFloat_AsDouble(argument);
    if (PyErr_Occurred()) return NULL;
    if (!(q >= 0 && q <= 1)) return raise_status(QUANTILE_BAD_Q);
    return PyFloat_FromDouble(hist_quantile(hist_of(self), q));
}

static PyObject *histogram_pack(PyObject *self, PyObject *unused) {
    (void)unused;
    size_t size = hist_pack(hist_of(self), NULL);
    char *image = PyMem_Malloc(size);
    if (!image) return PyErr_NoMemory();
    hist_pack(hist_of(self), image);
    PyObject *bytes = PyBytes_FromStringAndSize(image, (Py_ssize_t)size);
    PyMem_Free(image);
    return bytes;
}

static PyObject *histogram_unpack(PyObject *type, PyObject *image) {
    Py_buffer view;
    if (PyObject_GetBuffer(image, &view, PyBUF_SIMPLE) != 0) return NULL;
    struct hist *hist = hist_unpack(view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (hist) return stats_wrap((PyTypeObject *)(void *)type, hist);
    PyErr_SetString(PyExc_ValueError, "these bytes are no packed histogram");
    return NULL;
}

static PyObject *get_count(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(hist_count(hist_of(self)));
}
static PyObject *get_min(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromLongLong(hist_min(hist_of(self)));
}
static PyObject *get_max(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromLongLong(hist_max(hist_of(self)));
}
static PyObject *get_mean(PyObject *self, void *unused) {
    (void)unused;
    return PyFloat_FromDouble(hist_mean(hist_of(self)));
}
static PyObject *get_std(PyObject *self, void *unused) {
    (void)unused;
    return PyFloat_FromDouble(hist_std(hist_of(self)));
}

static PyMethodDef histogram_methods[] = {
    {"add", histogram_add, METH_O,
     "add($self, values, /)\n--\n\nAdd an int, or each value of a contiguous array."},
    {"merge", histogram_merge, METH_O, "merge($self, other, /)\n--\n\nAdd another histogram; exact."},
    {"quantile", histogram_quantile, METH_O, "quantile($self, q, /)\n--\n\nBy NumPy's rule; NaN when empty."},
    {"pack", histogram_pack, METH_NOARGS,
     "pack($self, /)\n--\n\nAs bytes that unpack() reads, on any machine."},
    {"unpack", histogram_unpack, METH_O | METH_CLASS,
     "unpack($type, data, /)\n--\n\nThe histogram of pack()'s bytes."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef histogram_attributes[] = {
    {"count", get_count, NULL, "How many values.", NULL},
    {"min", get_min, NULL, "Exact; 0 when empty.", NULL},
    {"max", get_max, NULL, "Exact; 0 when empty.", NULL},
    {"mean", get_mean, NULL, "Exact; NaN when empty.", NULL},
    {"std", get_std, NULL, "Population; NaN when empty.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot histogram_slots[] = {
    {Py_tp_doc,
     "Histogram()\n--\n\nLog-linear histogram of non-negative integers; values come back within 1/2048."},
    {Py_tp_new, histogram_new},
    {Py_tp_dealloc, histogram_dealloc},
    {Py_tp_methods, histogram_methods},
    {Py_tp_getset, histogram_attributes},
    {0, NULL},
};

static PyType_Spec histogram_spec = {
    .name = "vllmperf._engine.Histogram",
    .basicsize = sizeof(struct histogram),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = histogram_slots,
};

static PyMethodDef functions[] = {
    {"quantile", py_quantile, METH_VARARGS, quantile_doc},
    {"moments", py_moments, METH_O, moments_doc},
    {NULL, NULL, 0, NULL},
};

int add_stats(PyObject *module) {
    struct module_state *state = PyModule_GetState(module);
    state->histogram_type = PyType_FromModuleAndSpec(module, &histogram_spec, NULL);
    if (!state->histogram_type) return -1;
    if (PyModule_AddFunctions(module, functions) != 0) return -1;
    return PyModule_AddObjectRef(module, "Histogram", state->histogram_type);
}

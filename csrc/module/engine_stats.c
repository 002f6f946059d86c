/* Owns the Python faces of stats/: Histogram, quantile, moments.
 * Does no arithmetic of its own. */
#include "module/parts.h"

#include <stdbool.h>

#include "stats/quantile.h"

/* ---- arrays from any object with a buffer of one of our three types ---- */

static bool get_array(PyObject *object, Py_buffer *view, char *type) {
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) return false;
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=' || *format == '<') format++;
    char code = format[0] == 'l' || format[0] == 'q' ? 'q' : format[0];
    if (format[1] == '\0' && (code == 'd' || code == 'f' || (code == 'q' && view->itemsize == 8))) {
        *type = code;
        return true;
    }
    PyErr_Format(PyExc_TypeError, "an array of float64, float32 or int64 is needed, not one of format '%s'",
                 view->format);
    PyBuffer_Release(view);
    return false;
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
             "Exact quantiles of a float32 or float64 array of any order, as numpy.quantile gives them.\n\n"
             "q: numbers within 0 and 1. Returns a list of float, NaN for an empty array or one with a NaN.\n"
             "Raises ValueError for a q out of range, TypeError for another kind of array.");

static PyObject *quantile(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *values, *wanted, *result = NULL;
    Py_buffer view;
    char type;
    double *q;
    Py_ssize_t n_q;
    if (!PyArg_ParseTuple(args, "OO:quantile", &values, &wanted) || !get_quantiles(wanted, &q, &n_q))
        return NULL;
    double *out = PyMem_Malloc(((size_t)n_q + 1) * sizeof *out);
    if (!out) {
        PyErr_NoMemory();
    } else if (get_array(values, &view, &type)) {
        enum quantile_status status = QUANTILE_BAD_Q;
        size_t n = (size_t)(view.len / view.itemsize);
        if (type == 'q') {
            PyErr_SetString(PyExc_TypeError, "quantile needs float32 or float64");
        } else {
            Py_BEGIN_ALLOW_THREADS status = type == 'd' ? quantile_f64(view.buf, n, q, (size_t)n_q, out)
                                                        : quantile_f32(view.buf, n, q, (size_t)n_q, out);
            Py_END_ALLOW_THREADS result = status == QUANTILE_OK ? float_list(out, n_q) : raise_status(status);
        }
        PyBuffer_Release(&view);
    }
    PyMem_Free(out);
    PyMem_Free(q);
    return result;
}

PyDoc_STRVAR(moments_doc,
             "moments($module, values, /)\n--\n\n"
             "Mean and population variance of a float32 or float64 array; NaN when it is empty.");

static PyObject *moments(PyObject *module, PyObject *values) {
    (void)module;
    Py_buffer view;
    char type;
    double mean, variance;
    if (!get_array(values, &view, &type)) return NULL;
    size_t n = (size_t)(view.len / view.itemsize);
    if (type == 'q') {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_TypeError, "moments needs float32 or float64");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS if (type == 'd') moments_f64(view.buf, n, &mean, &variance);
    else moments_f32(view.buf, n, &mean, &variance);
    Py_END_ALLOW_THREADS PyBuffer_Release(&view);
    return Py_BuildValue("dd", mean, variance);
}

/* ---- Histogram ---- */

struct histogram {
    PyObject_HEAD struct hist *hist;
};

static struct hist *hist_of(PyObject *self) {
    return ((struct histogram *)(void *)self)->hist;
}

static PyObject *wrap(PyTypeObject *type, struct hist *owned) {
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
    return wrap((PyTypeObject *)(void *)state->histogram_type, owned);
}

static PyObject *histogram_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    if (PyTuple_Size(args) != 0 || (keywords && PyDict_Size(keywords) != 0)) {
        PyErr_SetString(PyExc_TypeError, "Histogram() takes no arguments");
        return NULL;
    }
    return wrap(type, hist_new());
}

static void histogram_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    hist_free(hist_of(self));
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static void add_values(struct hist *hist, const Py_buffer *view, char type) {
    size_t n = (size_t)(view->len / view->itemsize);
    for (size_t i = 0; i < n; i++) {
        double value = type == 'd'   ? ((const double *)view->buf)[i]
                       : type == 'f' ? (double)((const float *)view->buf)[i]
                                     : 0;
        hist_add(hist,
                 type == 'q'    ? ((const int64_t *)view->buf)[i]
                 : value < 9e18 ? (int64_t)(value + 0.5)
                                : INT64_MAX,
                 1);
    }
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
    if (!get_array(values, &view, &type)) return NULL;
    add_values(hist_of(self), &view, type);
    PyBuffer_Release(&view);
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
    if (hist) return wrap((PyTypeObject *)(void *)type, hist);
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
    {"quantile", quantile, METH_VARARGS, quantile_doc},
    {"moments", moments, METH_O, moments_doc},
    {NULL, NULL, 0, NULL},
};

int add_stats(PyObject *module) {
    struct module_state *state = PyModule_GetState(module);
    state->histogram_type = PyType_FromModuleAndSpec(module, &histogram_spec, NULL);
    if (!state->histogram_type) return -1;
    if (PyModule_AddFunctions(module, functions) != 0) return -1;
    return PyModule_AddObjectRef(module, "Histogram", state->histogram_type);
}

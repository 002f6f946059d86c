/* Owns LineScanner, the Python face of scan/lines: needles in, places of lines out.
 * Does not read files. */
#include "module/parts.h"

#include <stdbool.h>
#include <stdint.h>

#include "scan/lines.h"

enum { HITS = 256 };

struct scanner {
    PyObject_HEAD
    struct lines *lines;
};

static bool needle_views(PyObject *list, const char **needles, size_t *lens, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char *bytes;
        Py_ssize_t len;
        PyObject *item = PyList_GetItem(list, (Py_ssize_t)i);
        if (!item || PyBytes_AsStringAndSize(item, &bytes, &len) != 0) return false;
        needles[i] = bytes;
        lens[i] = (size_t)len;
    }
    return true;
}

static struct lines *lines_of(PyObject *list) {
    size_t count = (size_t)PyList_Size(list);
    const char **needles = PyMem_Calloc(count + 1, sizeof *needles);
    size_t *lens = PyMem_Calloc(count + 1, sizeof *lens);
    struct lines *lines = NULL;
    if (!needles || !lens) {
        PyErr_NoMemory();
    } else if (needle_views(list, needles, lens, count)) {
        lines = lines_new(needles, lens, count);
        if (!lines) PyErr_SetString(PyExc_ValueError, "needles are lines' parts, none of them empty");
    }
    PyMem_Free(needles);
    PyMem_Free(lens);
    return lines;
}

/* In tp_new and not in tp_init, which could be called again while another thread is in find(). */
static PyObject *scanner_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *names[] = {"needles", NULL};
    PyObject *needles;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O:LineScanner", names, &needles)) return NULL;
    PyObject *list = PySequence_List(needles);
    struct lines *lines = list ? lines_of(list) : NULL;
    Py_XDECREF(list);
    if (!lines) return NULL;
    PyObject *self = ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self)
        ((struct scanner *)self)->lines = lines;
    else
        lines_free(lines);
    return self;
}

static void scanner_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    lines_free(((struct scanner *)self)->lines);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static bool append_hits(PyObject *list, const struct lines_hit *hits, size_t count) {
    for (size_t i = 0; i < count; i++) {
        PyObject *item = Py_BuildValue("nnn", (Py_ssize_t)hits[i].line, (Py_ssize_t)hits[i].start,
                                       (Py_ssize_t)hits[i].end);
        bool ok = item && PyList_Append(list, item) == 0;
        Py_XDECREF(item);
        if (!ok) return false;
    }
    return true;
}

/* The buffer is held, so the GIL need not be while the text is read. */
static bool find_all(const struct lines *lines, const Py_buffer *view, struct lines_cursor *cursor,
                     PyObject *list) {
    struct lines_hit hits[HITS];
    size_t count;
    do {
        Py_BEGIN_ALLOW_THREADS;
        count = lines_find(lines, view->buf, (size_t)view->len, cursor, hits, HITS);
        Py_END_ALLOW_THREADS;
        if (!append_hits(list, hits, count)) return false;
    } while (count == HITS);
    return true;
}

PyDoc_STRVAR(
    find_doc,
    "find($self, block, /)\n--\n\n"
    "Lines of a block of bytes that hold a needle: ([(line from 0, start, end)], lines in the block).");

static PyObject *scanner_find(PyObject *self, PyObject *block) {
    struct lines *lines = ((struct scanner *)self)->lines;
    Py_buffer view;
    if (PyObject_GetBuffer(block, &view, PyBUF_SIMPLE) != 0) return NULL;
    struct lines_cursor cursor = {0, 0};
    PyObject *list = PyList_New(0);
    bool ok = list && find_all(lines, &view, &cursor, list);
    PyBuffer_Release(&view);
    PyObject *result = ok ? Py_BuildValue("On", list, (Py_ssize_t)cursor.line) : NULL;
    Py_XDECREF(list);
    return result;
}

static PyMethodDef scanner_methods[] = {{"find", scanner_find, METH_O, find_doc}, {NULL, NULL, 0, NULL}};

PyDoc_STRVAR(scanner_doc, "LineScanner(needles)\n--\n\n"
                          "Finds the lines that hold one of some needles, all in one pass.\n\n"
                          "needles: bytes, none empty or with a line feed in it. Raises ValueError.");

static PyType_Slot scanner_slots[] = {
    {Py_tp_doc, (void *)scanner_doc},
    {Py_tp_new, (void *)scanner_new},
    {Py_tp_dealloc, (void *)scanner_dealloc},
    {Py_tp_methods, scanner_methods},
    {0, NULL},
};

static PyType_Spec scanner_spec = {
    .name = "vllmperf._engine.LineScanner",
    .basicsize = sizeof(struct scanner),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = scanner_slots,
};

int add_scan(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &scanner_spec, NULL);
    int status = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return status;
}

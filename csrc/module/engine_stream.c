/* Owns the Python faces of stream/, which are there for tests and for looking at a stream by hand.
 * The engine itself never comes through here. */
#include "module/parts.h"

#include <stdbool.h>

#include "stream/delta.h"
#include "stream/sse.h"
#include "stream/unescape.h"

enum { DEFAULT_MAX_BYTES = 16 * 1024 * 1024 };

static bool stream_append(PyObject *list, PyObject *item) {
    bool ok = item && PyList_Append(list, item) == 0;
    Py_XDECREF(item);
    return ok;
}

static bool stream_take_events(struct sse *sse, PyObject *events) {
    struct sse_event event;
    enum sse_status status;
    while ((status = sse_next(sse, &event)) == SSE_EVENT)
        if (!stream_append(events, Py_BuildValue("y#y#", event.type, (Py_ssize_t)event.type_len, event.data,
                                                 (Py_ssize_t)event.data_len)))
            return false;
    if (status == SSE_TOO_LONG) PyErr_SetString(PyExc_ValueError, "a line or event is longer than max_bytes");
    if (status == SSE_NO_MEMORY) PyErr_NoMemory();
    return status == SSE_MORE;
}

static bool feed_piece(struct sse *sse, PyObject *piece, PyObject *events) {
    Py_buffer view;
    if (!piece || PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE) != 0) return false;
    sse_feed(sse, view.buf, (size_t)view.len);
    bool ok = stream_take_events(sse, events);
    PyBuffer_Release(&view);
    return ok;
}

PyDoc_STRVAR(sse_doc, "sse_parse($module, pieces, max_bytes=16777216, end=True)\n--\n\n"
                      "The (type, data) events of a text/event-stream that came in these pieces.\n\n"
                      "end: the stream is over, so a last event without its blank line counts too.\n"
                      "Raises ValueError when a line or an event is longer than max_bytes.");

static PyObject *sse_parse(PyObject *module, PyObject *args, PyObject *keywords) {
    (void)module;
    static char *names[] = {"pieces", "max_bytes", "end", NULL};
    PyObject *pieces;
    Py_ssize_t max_bytes = DEFAULT_MAX_BYTES;
    int end = 1;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|np:sse_parse", names, &pieces, &max_bytes, &end))
        return NULL;
    PyObject *list = PySequence_List(pieces), *events = PyList_New(0);
    struct sse *sse = sse_new(max_bytes > 0 ? (size_t)max_bytes : 0);
    bool ok = list && events && sse;
    if (!sse) PyErr_NoMemory();
    for (Py_ssize_t i = 0; ok && i < PyList_Size(list); i++)
        ok = feed_piece(sse, PyList_GetItem(list, i), events);
    if (ok && end) {
        sse_feed(sse, "", 0);
        sse_end(sse);
        ok = stream_take_events(sse, events);
    }
    sse_free(sse);
    Py_XDECREF(list);
    if (!ok) Py_CLEAR(events);
    return events;
}

/* ---- delta ---- */

static bool stream_set(PyObject *dict, const char *key, PyObject *value) {
    bool ok = value && PyDict_SetItemString(dict, key, value) == 0;
    Py_XDECREF(value);
    return ok;
}

static PyObject *count_or_none(int64_t count) {
    if (count < 0) Py_RETURN_NONE;
    return PyLong_FromLongLong(count);
}

static PyObject *text_or_none(const char *raw, size_t len) {
    if (!raw) Py_RETURN_NONE;
    char *text = PyMem_Malloc(len + 1);
    if (!text) return PyErr_NoMemory();
    size_t n = unescape(text, raw, len);
    PyObject *result = PyUnicode_DecodeUTF8(text, (Py_ssize_t)n, "replace");
    PyMem_Free(text);
    return result;
}

static PyObject *view_or_none(struct view text) {
    return text_or_none(text.at, text.len);
}

/* The content, be it a string or a list of parts. */
static PyObject *content_or_none(const struct delta_choice *choice) {
    if (!choice->parts.len) return text_or_none(choice->content, choice->content_len);
    char *text = PyMem_Malloc(choice->parts.len);
    if (!text) return PyErr_NoMemory();
    PyObject *result = PyUnicode_DecodeUTF8(text, (Py_ssize_t)said_text(text, choice->parts), "replace");
    PyMem_Free(text);
    return result;
}

static PyObject *choice_dict(const struct delta_choice *choice) {
    PyObject *dict = PyDict_New();
    bool ok = dict && stream_set(dict, "index", PyLong_FromLongLong(choice->index)) &&
              stream_set(dict, "content", content_or_none(choice)) &&
              stream_set(dict, "reasoning", text_or_none(choice->reasoning, choice->reasoning_len)) &&
              stream_set(dict, "text_bytes", PyLong_FromSize_t(choice->text_bytes)) &&
              stream_set(dict, "thought_bytes", PyLong_FromSize_t(choice->thought_bytes)) &&
              stream_set(dict, "tool_bytes", PyLong_FromSize_t(choice->tool_bytes)) &&
              stream_set(dict, "has_content", PyBool_FromLong(choice->has_content)) &&
              stream_set(dict, "has_tool_calls", PyBool_FromLong(choice->has_tool_calls)) &&
              stream_set(dict, "has_unknown", PyBool_FromLong(choice->has_unknown)) &&
              stream_set(dict, "has_role", PyBool_FromLong(choice->has_role)) &&
              stream_set(dict, "token_ids", count_or_none(choice->token_ids)) &&
              stream_set(dict, "finish_reason", view_or_none(choice->finish_reason)) &&
              stream_set(dict, "is_output", PyBool_FromLong(delta_choice_is_output(choice)));
    if (!ok) Py_CLEAR(dict);
    return dict;
}

static void stream_on_choice(void *context, const struct delta_choice *choice) {
    PyObject **choices = context;
    if (*choices && !stream_append(*choices, choice_dict(choice))) Py_CLEAR(*choices);
}

static PyObject *delta_dict(const struct delta *delta, PyObject *choices) {
    PyObject *dict = PyDict_New();
    bool ok = dict && stream_set(dict, "choices", Py_NewRef(choices)) &&
              stream_set(dict, "prompt_tokens", count_or_none(delta->prompt_tokens)) &&
              stream_set(dict, "completion_tokens", count_or_none(delta->completion_tokens)) &&
              stream_set(dict, "total_tokens", count_or_none(delta->total_tokens)) &&
              stream_set(dict, "cached_tokens", count_or_none(delta->cached_tokens)) &&
              stream_set(dict, "predicted", count_or_none(delta->predicted)) &&
              stream_set(dict, "rejected", count_or_none(delta->rejected)) &&
              stream_set(dict, "queue_ns", count_or_none(delta->queue_ns)) &&
              stream_set(dict, "prefill_ns", count_or_none(delta->prefill_ns)) &&
              stream_set(dict, "decode_ns", count_or_none(delta->decode_ns)) &&
              stream_set(dict, "draft_steps", count_or_none(delta->draft_steps)) &&
              stream_set(dict, "draft_tokens", count_or_none(delta->draft_tokens)) &&
              stream_set(dict, "accepted_tokens", count_or_none(delta->accepted_tokens)) &&
              stream_set(dict, "has_complaint", PyBool_FromLong(delta->has_complaint)) &&
              stream_set(dict, "has_foreign_output", PyBool_FromLong(delta->has_foreign_output)) &&
              stream_set(dict, "error",
                         delta->error ? PyBytes_FromStringAndSize(delta->error, (Py_ssize_t)delta->error_len)
                                      : Py_NewRef(Py_None));
    if (!ok) Py_CLEAR(dict);
    return dict;
}

PyDoc_STRVAR(
    delta_doc,
    "delta_scan($module, data, /)\n--\n\n"
    "What the engine reads of one completions or chat object: a dict with choices, prompt_tokens,\n"
    "completion_tokens, total_tokens, cached_tokens, its own times and drafts, error (raw JSON bytes);\n"
    "None for [DONE].\n"
    "Raises ValueError when the bytes are no JSON object.");

static PyObject *py_delta_scan(PyObject *module, PyObject *data) {
    (void)module;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return NULL;
    PyObject *choices = PyList_New(0), *result = NULL;
    struct delta delta;
    enum delta_status status = delta_scan(view.buf, (size_t)view.len, &delta, stream_on_choice, &choices);
    if (choices && status == DELTA_OK) result = delta_dict(&delta, choices);
    if (choices && status == DELTA_DONE) result = Py_NewRef(Py_None);
    if (choices && status == DELTA_MALFORMED) PyErr_SetString(PyExc_ValueError, "this is no JSON object");
    Py_XDECREF(choices);
    PyBuffer_Release(&view);
    return result;
}

static PyMethodDef functions[] = {
    {"sse_parse", (PyCFunction)(void (*)(void))sse_parse, METH_VARARGS | METH_KEYWORDS, sse_doc},
    {"delta_scan", py_delta_scan, METH_O, delta_doc},
    {NULL, NULL, 0, NULL},
};

int add_stream(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}

/* Owns the reading of an Engine's configuration: a dict with known keys, checked before the engine sees it.
 * Does not know what the engine makes of it. */
#include "module/engine_parts.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* One table of keys for each type. */
struct key {
    const char *name;
    size_t offset;
    int64_t most; /* of a number */
};

/* Longer times than these 30 years would overflow when they are added to a clock. */
#define LONGEST_NS INT64_C(1000000000000000000)
#define MOST_BYTES (INT64_C(1) << 30)
enum { MOST_THREADS = 1024, MOST_MULTIS = 4096, MOST_CONNECTIONS = 1 << 24 };

#define KEY(name)                                                                                            \
    { #name, offsetof(struct engine_config, name), 0 }
#define NUMBER(name, most)                                                                                   \
    { #name, offsetof(struct engine_config, name), most }
static const struct key number_keys[] = {
    NUMBER(max_concurrency, INT64_MAX - 1),
    NUMBER(max_in_flight_hint, INT64_MAX - 1),
    NUMBER(threads, MOST_THREADS),
    NUMBER(multis, MOST_MULTIS),
    NUMBER(warm_connections, MOST_CONNECTIONS),
    NUMBER(spin_ns, LONGEST_NS),
    NUMBER(connect_timeout_ns, LONGEST_NS),
    NUMBER(first_token_timeout_ns, LONGEST_NS),
    NUMBER(stall_timeout_ns, LONGEST_NS),
    NUMBER(total_timeout_ns, LONGEST_NS),
    NUMBER(duration_ns, LONGEST_NS),
    NUMBER(grace_ns, LONGEST_NS),
    NUMBER(max_event_bytes, MOST_BYTES),
    NUMBER(max_errors, INT64_MAX - 1),
    NUMBER(max_recent_errors, FAILURES_WINDOW),
};
/* May be missing: 0. */
static const struct key optional_number_keys[] = {NUMBER(only_port, 65535)};
static const struct key flag_keys[] = {
    KEY(kernel_stamps), KEY(keep_text), KEY(keep_stamps), KEY(insecure), KEY(fresh_connections),
};
/* May be missing: false. */
static const struct key optional_flag_keys[] = {
    KEY(keep_events),      KEY(raw_bodies),        KEY(no_request_ids), KEY(uuid_request_ids),
    KEY(follow_redirects), KEY(spare_connections), KEY(use_libcurl),    KEY(strict_events),
};
static const struct key text_keys[] = {
    KEY(url),
    KEY(request_id_prefix),
    KEY(warm_url),
    KEY(cacert),
};
/* May be missing: NULL. */
static const struct key optional_text_keys[] = {KEY(session_header), KEY(capath)};
static const char *const list_keys[] = {"addresses", "headers"};
#undef KEY
#undef NUMBER
#define COUNT(table) (sizeof(table) / sizeof(table)[0])

/* ---- values ---- */

static PyObject *get_key(PyObject *config, const char *name) {
    PyObject *value = PyDict_GetItemString(config, name);
    if (!value) PyErr_Format(PyExc_ValueError, "the engine's configuration lacks '%s'", name);
    return value;
}

/* INT64_MAX for more than fits, INT64_MIN for less; also from NumPy's integers. */
static bool as_int64(PyObject *value, const char *name, int64_t *number) {
    if (!PyIndex_Check(value)) {
        PyErr_Format(PyExc_TypeError, "'%s' must be an int", name);
        return false;
    }
    PyObject *whole = PyNumber_Index(value);
    if (!whole) return false;
    int overflow;
    *number = PyLong_AsLongLongAndOverflow(whole, &overflow);
    if (overflow) *number = overflow > 0 ? INT64_MAX : INT64_MIN;
    Py_DECREF(whole);
    return true;
}

static bool get_number(PyObject *value, const struct key *key, struct engine_config *to) {
    int64_t number;
    if (!value || !as_int64(value, key->name, &number)) return false;
    if (number < 0) {
        PyErr_Format(PyExc_ValueError, "'%s' must not be negative", key->name);
        return false;
    }
    if (number > key->most) {
        PyErr_Format(PyExc_OverflowError, "'%s' must be at most %lld", key->name, (long long)key->most);
        return false;
    }
    memcpy((char *)to + key->offset, &number, sizeof number);
    return true;
}

static bool get_numbers(PyObject *config, struct engine_config *to) {
    for (size_t i = 0; i < COUNT(number_keys); i++)
        if (!get_number(get_key(config, number_keys[i].name), &number_keys[i], to)) return false;
    for (size_t i = 0; i < COUNT(optional_number_keys); i++) {
        PyObject *value = PyDict_GetItemString(config, optional_number_keys[i].name);
        if (value && !get_number(value, &optional_number_keys[i], to)) return false;
    }
    return true;
}

static bool get_flag(PyObject *value, const struct key *key, struct engine_config *to) {
    int truth = value ? PyObject_IsTrue(value) : 0;
    if (truth < 0) return false;
    bool flag = truth == 1;
    memcpy((char *)to + key->offset, &flag, sizeof flag);
    return true;
}

static bool get_flags(PyObject *config, struct engine_config *to) {
    for (size_t i = 0; i < COUNT(flag_keys); i++) {
        PyObject *value = get_key(config, flag_keys[i].name);
        if (!value || !get_flag(value, &flag_keys[i], to)) return false;
    }
    for (size_t i = 0; i < COUNT(optional_flag_keys); i++) {
        PyObject *value = PyDict_GetItemString(config, optional_flag_keys[i].name);
        if (!get_flag(value, &optional_flag_keys[i], to)) return false;
    }
    return true;
}

/* UTF-8, borrowed from the str. C and HTTP would end it at a NUL, and a header at a line break. */
static const char *config_get_text(PyObject *value, const char *name) {
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "'%s' must be str", name);
        return NULL;
    }
    Py_ssize_t len = 0;
    const char *text = PyUnicode_AsUTF8AndSize(value, &len);
    if (!text || ((size_t)len == strlen(text) && !strpbrk(text, "\r\n"))) return text;
    PyErr_Format(PyExc_ValueError, "'%s' must hold no NUL and no line break", name);
    return NULL;
}

static bool get_texts(PyObject *config, struct engine_config *to) {
    for (size_t i = 0; i < COUNT(text_keys); i++) {
        PyObject *value = get_key(config, text_keys[i].name);
        const char *text = value ? config_get_text(value, text_keys[i].name) : NULL;
        if (!text) return false;
        memcpy((char *)to + text_keys[i].offset, &text, sizeof text);
    }
    for (size_t i = 0; i < COUNT(optional_text_keys); i++) {
        PyObject *value = PyDict_GetItemString(config, optional_text_keys[i].name);
        const char *text = value ? config_get_text(value, optional_text_keys[i].name) : NULL;
        if (value && !text) return false;
        memcpy((char *)to + optional_text_keys[i].offset, &text, sizeof text);
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
        texts[i] = config_get_text(PyList_GetItem(list, (Py_ssize_t)i), name);
        if (texts[i]) continue;
        PyMem_Free(texts);
        return NULL;
    }
    return texts;
}

/* ---- keys ---- */

static bool is_among(const char *name, const struct key *keys, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i].name, name) == 0) return true;
    return false;
}

static bool is_known(const char *name) {
    for (size_t i = 0; i < COUNT(list_keys); i++)
        if (strcmp(list_keys[i], name) == 0) return true;
    return is_among(name, number_keys, COUNT(number_keys)) ||
           is_among(name, optional_number_keys, COUNT(optional_number_keys)) ||
           is_among(name, flag_keys, COUNT(flag_keys)) ||
           is_among(name, optional_flag_keys, COUNT(optional_flag_keys)) ||
           is_among(name, text_keys, COUNT(text_keys)) ||
           is_among(name, optional_text_keys, COUNT(optional_text_keys));
}

static bool has_only_known_keys(PyObject *config) {
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(config, &at, &key, &value);) {
        Py_ssize_t len = 0;
        const char *name = PyUnicode_Check(key) ? PyUnicode_AsUTF8AndSize(key, &len) : NULL;
        if (name && strlen(name) == (size_t)len && is_known(name)) continue;
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "%R is none of the keys of the engine's configuration", key);
        return false;
    }
    return true;
}

/* ---- the whole ---- */

static struct engine *engine_of(struct engine_config *c, PyObject *config) {
    struct engine *engine = NULL;
    char error[160];
    const char **addresses = get_list(config, "addresses", &c->n_addresses);
    const char **headers = addresses ? get_list(config, "headers", &c->n_headers) : NULL;
    if (headers) {
        c->addresses = addresses;
        c->headers = headers;
        engine = engine_new(c, error, sizeof error);
        if (!engine) PyErr_SetString(PyExc_OSError, error);
    }
    PyMem_Free(addresses);
    PyMem_Free(headers);
    return engine;
}

/* Read from a copy: a value's __bool__ may change the dict while texts of it are borrowed. */
struct engine *engine_from(PyObject *config) {
    struct engine_config c = {0};
    PyObject *copy = PyDict_Copy(config);
    bool ok = copy && has_only_known_keys(copy) && get_flags(copy, &c) && get_numbers(copy, &c);
    struct engine *engine = ok && get_texts(copy, &c) ? engine_of(&c, copy) : NULL;
    Py_XDECREF(copy);
    return engine;
}

/* Owns the reading of settings from a dict, as vllmperf/sim/config.py has checked them.
 * Does not check them for people: that is done there. */
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "module/sim_parts.h"

static PyObject *setting_item(PyObject *config, const char *key) {
    PyObject *value = PyDict_GetItemString(config, key);
    if (value == NULL) PyErr_Format(PyExc_ValueError, "missing setting: %s", key);
    return value;
}

static bool setting_get_text(PyObject *config, const char *key, char **out) {
    PyObject *value = setting_item(config, key);
    if (value == NULL) return false;
    const char *text = PyUnicode_AsUTF8AndSize(value, NULL);
    if (text == NULL) return false;
    *out = strdup(text);
    if (*out == NULL) PyErr_NoMemory();
    return *out != NULL;
}

static bool get_int(PyObject *config, const char *key, int64_t *out) {
    PyObject *value = setting_item(config, key);
    if (value == NULL) return false;
    *out = PyLong_AsLongLong(value);
    return *out != -1 || !PyErr_Occurred();
}

static bool get_double(PyObject *config, const char *key, double *out) {
    PyObject *value = setting_item(config, key);
    if (value == NULL) return false;
    *out = PyFloat_AsDouble(value);
    return *out != -1.0 || !PyErr_Occurred();
}

static bool get_bool(PyObject *config, const char *key, bool *out) {
    PyObject *value = setting_item(config, key);
    int truth = value ? PyObject_IsTrue(value) : -1;
    *out = truth == 1;
    return truth >= 0;
}

static bool get_dist(PyObject *config, const char *key, struct dist *out) {
    char *text = NULL;
    if (!setting_get_text(config, key, &text)) return false;
    bool ok = dist_parse(out, text);
    if (!ok)
        PyErr_Format(PyExc_ValueError,
                     "%s: \"%s\" is none of MS, normal:MEAN:STD, lognormal:MEAN:STD (in ms)", key, text);
    free(text);
    return ok;
}

static bool get_fault(PyObject *value, struct fault *out) {
    Py_ssize_t len;
    char error[160];
    const char *text = PyUnicode_AsUTF8AndSize(value, &len);
    if (text == NULL) return false;
    if (fault_parse(out, text, (size_t)len, error, sizeof error)) return true;
    PyErr_Format(PyExc_ValueError, "fault \"%s\": %s", text, error);
    return false;
}

static bool get_faults(PyObject *config, struct sim_config *out) {
    PyObject *list = setting_item(config, "faults");
    Py_ssize_t n = list ? PySequence_Size(list) : -1;
    if (n < 0) return false;
    out->faults = calloc((size_t)n + 1, sizeof *out->faults);
    if (out->faults == NULL) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *value = PySequence_GetItem(list, i);
        bool ok = value && get_fault(value, &out->faults[i]);
        Py_XDECREF(value);
        if (!ok) return false;
    }
    out->n_faults = (int)n;
    return true;
}

/* ---- the batching engine ---- */

static bool get_graph_sizes(PyObject *config, struct step_model *out) {
    PyObject *list = setting_item(config, "graph_sizes");
    Py_ssize_t n = list ? PySequence_Size(list) : -1;
    if (n > STEP_GRAPH_SIZES) PyErr_Format(PyExc_ValueError, "graph_sizes: at most %d", STEP_GRAPH_SIZES);
    if (n < 0 || n > STEP_GRAPH_SIZES) return false;
    out->n_graph_sizes = (int)n;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *value = PySequence_GetItem(list, i);
        out->graph_sizes[i] = value ? (int32_t)PyLong_AsLong(value) : -1;
        Py_XDECREF(value);
        if (PyErr_Occurred()) return false;
    }
    return true;
}

static bool get_model(PyObject *config, struct step_model *out) {
    int64_t seed = 0;
    bool ok =
        get_double(config, "alpha_ms", &out->alpha_ms) && get_double(config, "beta_ms", &out->beta_ms) &&
        get_double(config, "gamma_ms", &out->gamma_ms) && get_double(config, "delta_ms", &out->delta_ms) &&
        get_double(config, "kv_ms", &out->kv_ms) && get_double(config, "attention_ms", &out->attention_ms) &&
        get_double(config, "step_noise", &out->noise) && get_int(config, "seed", &seed) &&
        get_graph_sizes(config, out);
    out->seed = (uint64_t)seed;
    return ok;
}

static bool get_policy(PyObject *config, bool *priority) {
    char *policy = NULL;
    if (!setting_get_text(config, "scheduling_policy", &policy)) return false;
    *priority = strcmp(policy, "priority") == 0;
    free(policy);
    return true;
}

bool sim_get_scheduler(PyObject *config, struct scheduler_config *out, int64_t *front_ns) {
    int64_t seqs = 0, block_size = 0, blocks = 0;
    double front_ms = 0;
    bool ok = get_int(config, "max_num_seqs", &seqs) &&
              get_int(config, "max_num_batched_tokens", &out->max_num_batched_tokens) &&
              get_bool(config, "enable_chunked_prefill", &out->chunked_prefill) &&
              get_bool(config, "enable_prefix_caching", &out->prefix_caching) &&
              get_int(config, "block_size", &block_size) && get_int(config, "num_gpu_blocks", &blocks) &&
              get_policy(config, &out->priority) && get_double(config, "front_ms", &front_ms) &&
              get_model(config, &out->model);
    out->max_num_seqs = (int32_t)seqs;
    out->block_size = (int32_t)block_size;
    out->num_gpu_blocks = (int32_t)blocks;
    *front_ns = (int64_t)(front_ms * 1e6);
    return ok;
}

static bool get_batching(PyObject *config, struct sim_config *out) {
    char *mode = NULL;
    if (!setting_get_text(config, "mode", &mode)) return false;
    out->batching = strcmp(mode, "batching") == 0;
    free(mode);
    return get_double(config, "time_scale", &out->time_scale) &&
           get_bool(config, "enable_per_request_metrics", &out->per_request_metrics) &&
           get_bool(config, "enable_prompt_tokens_details", &out->prompt_tokens_details) &&
           sim_get_scheduler(config, &out->scheduler, &out->front_ns);
}

/* ---- replicas ---- */

static bool get_router_kind(PyObject *config, enum router_kind *kind) {
    char *name = NULL;
    if (!setting_get_text(config, "router", &name)) return false;
    *kind = router_kind_of(name);
    if (*kind == ROUTER_COUNT) PyErr_Format(PyExc_ValueError, "no router is called %s", name);
    free(name);
    return *kind != ROUTER_COUNT;
}

static bool get_metrics_form(PyObject *config, enum metrics_form *form) {
    char *name = NULL;
    if (!setting_get_text(config, "metrics", &name)) return false;
    *form = strcmp(name, "ray") == 0 ? METRICS_FORM_RAY : METRICS_FORM_VLLM;
    free(name);
    return true;
}

static bool get_replicas(PyObject *config, struct sim_config *out) {
    struct router_config *router = &out->router;
    int64_t n = 0;
    bool ok = get_int(config, "replicas", &n) && get_router_kind(config, &router->kind) &&
              get_double(config, "imbalanced_threshold", &router->imbalanced_threshold) &&
              get_double(config, "match_rate_threshold", &router->match_rate_threshold) &&
              get_metrics_form(config, &out->metrics_form);
    if (ok && (n < 1 || n > ROUTER_REPLICAS)) {
        PyErr_Format(PyExc_ValueError, "replicas: between 1 and %d", ROUTER_REPLICAS);
        ok = false;
    }
    router->n_replicas = (int)n;
    return ok;
}

/* ---- all of them ---- */

bool sim_get_config(PyObject *config, struct sim_config *out) {
    int64_t port = 0, seed = 0, head_bytes = 0, body_bytes = 0;
    double keep_alive_s = 0, sleep_ms = 0, wake_ms = 0, head_ms = 0;
    bool ok = setting_get_text(config, "host", &out->host) && get_int(config, "port", &port) &&
              setting_get_text(config, "model", &out->model) &&
              setting_get_text(config, "version", &out->version) &&
              setting_get_text(config, "truth", &out->truth_path) &&
              get_dist(config, "ttft_ms", &out->ttft) && get_dist(config, "itl_ms", &out->itl) &&
              get_int(config, "tokens_per_chunk", &out->tokens_per_chunk) &&
              get_int(config, "chat_max_tokens", &out->chat_max_tokens) &&
              get_double(config, "eos_mean", &out->eos_mean) && get_int(config, "seed", &seed) &&
              get_int(config, "max_model_len", &out->max_model_len) &&
              get_int(config, "vocab_size", &out->vocab_size) &&
              get_double(config, "keep_alive_s", &keep_alive_s) && get_double(config, "head_ms", &head_ms) &&
              get_double(config, "sleep_ms", &sleep_ms) && get_double(config, "wake_ms", &wake_ms) &&
              get_bool(config, "close_connections", &out->close_connections) &&
              get_int(config, "max_header_bytes", &head_bytes) &&
              get_int(config, "max_body_bytes", &body_bytes) && get_faults(config, out) &&
              get_batching(config, out) && get_replicas(config, out);
    out->port = (int)port;
    out->seed = (uint64_t)seed;
    out->keep_alive_ns = (int64_t)(keep_alive_s * 1e9);
    out->head_ns = (int64_t)(head_ms * 1e6);
    out->sleep_ns = (int64_t)(sleep_ms * 1e6);
    out->wake_ns = (int64_t)(wake_ms * 1e6);
    out->limits = (struct http_limits){(size_t)head_bytes, (size_t)body_bytes};
    return ok;
}

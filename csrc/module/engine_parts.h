/* engine_parts: what the two files of the Engine type share. The GIL is held by all callers.
 */
#ifndef VLLMPERF_ENGINE_PARTS_H
#define VLLMPERF_ENGINE_PARTS_H

#include "module/parts.h"

#include "engine/engine.h"

/* An engine for a dict, or NULL with an exception set: ValueError for a missing or unknown key or a negative
 * number, TypeError, OverflowError, OSError when the system has not enough for it. */
struct engine *engine_from(PyObject *config);

#endif

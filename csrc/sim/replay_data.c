/* Owns the arrivals of a replay and its table of steps.
 * Does not schedule (scheduler.c, plain_replay.c). */
#include "sim/replay_data.h"

#include "stream/array.h"

bool replay_log_step(struct replay *replay, const struct step *step) {
    int64_t i = replay->n_steps++;
    if (!replay->want_steps) return true;
    if (!ARRAY_ROOM(replay->steps, replay->steps_capacity, (size_t)i + 1)) return false;
    replay->steps[i] = (struct replay_step){.start_ns = step->start_ns,
                                            .end_ns = step->start_ns + step->duration_ns,
                                            .decodes = step->work.decodes,
                                            .padded = step->padded,
                                            .decode_context = step->work.decode_context,
                                            .prefills = step->prefills,
                                            .prefill_tokens = step->work.prefill_tokens,
                                            .prefill_attention = step->work.prefill_attention,
                                            .running = step->running,
                                            .waiting = step->waiting,
                                            .admitted = step->admitted,
                                            .preempted = step->preempted,
                                            .used_blocks = step->used_blocks};
    return true;
}

void replay_door_release(struct replay_door *door, int64_t now_ns) {
    if (door->load->concurrency < 1 || door->known == door->load->n) return;
    door->requests[door->known++].arrival_ns = now_ns;
}

void replay_door_open(struct replay_door *door) {
    const struct replay_load *load = door->load;
    for (int64_t i = 0; i < load->concurrency; i++) replay_door_release(door, 0);
    if (load->concurrency > 0) return;
    for (; door->known < load->n; door->known++)
        door->requests[door->known].arrival_ns = load->arrival_ns[door->known];
}

int64_t replay_door_next_ns(const struct replay_door *door) {
    if (door->submitted == door->known) return INT64_MAX;
    return door->requests[door->submitted].arrival_ns + door->front_ns;
}

"""Pictures on this machine's GPUs: one worker process for each, batches, and their rescue.

::

    provider -> pool (this process)  --frames-->  worker (a process per GPU) -> models -> pictures
                batches                            faults

The engine's process holds queues and futures and never imports torch; a worker holds the models.
A worker may run out of memory, hang, or be killed at any moment without losing a picture: what
it had in hand goes back to the queue, and one that takes its worker down alone fails by name.

    frames    messages over a socket: a JSON head and bytes
    families  what each kind of pipeline takes, from its model_index.json, without torch
    batches   which waiting pictures go together, and when
    pool      the workers of one set of devices: sending, restarting, blaming
    lanes     in the worker: one batch denoises while another is decoded
    decoding  in the worker: latents into pixels, beside the next batch, in tiles, or not at all
    preview   in the worker: how a batch looks between two steps, while somebody watches
    models    in the worker: loading, keeping, unloading, remembered prompt embeddings
    batch     in the worker: one batch through a pipeline, halved where memory is short
    worker    in the worker: its main loop

May import: errors, lang.
"""

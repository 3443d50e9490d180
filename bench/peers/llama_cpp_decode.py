"""Decoding with llama.cpp: `llama_cpp_decode.py MODEL.gguf`. Greedy, through its C API, so that Python is not in the way."""

import ctypes
import sys
import time

from contestant import THREADS, compete

# The same numbers as in ../jackdaw/decode.ts.
PROMPT, NEW, LONG_PROMPT, CHATS, CONTEXT = 16, 128, 512, 8, 1024


def load():
    import llama_cpp as L

    @L.llama_log_callback
    def quiet(level, text, user_data):
        pass

    L.llama_log_set(quiet, ctypes.c_void_p(0))
    L.llama_backend_init()
    model = L.llama_model_load_from_file(sys.argv[1].encode(), L.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {sys.argv[1]}")
    vocabulary = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    greedy = L.llama_sampler_init_greedy()

    def context(sequences):
        params = L.llama_context_default_params()
        params.n_ctx = CONTEXT * sequences
        params.n_batch = params.n_ubatch = LONG_PROMPT
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = THREADS
        params.no_perf = True
        return L.llama_init_from_model(model, params)

    one, many = context(1), context(CHATS)
    batch = L.llama_batch_init(LONG_PROMPT, 0, 1)

    def run(ctx, tokens):
        """`tokens`: (id, position, sequence, wants logits)"""
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, logits) in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = logits
        if L.llama_decode(ctx, batch) != 0:
            raise RuntimeError("llama_decode failed")

    def prompt(ctx, length, sequence=0):
        ids = [(i * 7919) % vocabulary for i in range(1, length + 1)]
        run(ctx, [(token, i, sequence, i == length - 1) for i, token in enumerate(ids)])

    def clear(ctx):
        L.llama_memory_clear(L.llama_get_memory(ctx), True)

    def decode(seconds):
        done, spent = 0, 0.0
        while spent < seconds or done == 0:
            clear(one)
            prompt(one, PROMPT)
            token = L.llama_sampler_sample(greedy, one, -1)
            start = time.perf_counter()
            for i in range(NEW):
                run(one, [(token, PROMPT + i, 0, True)])
                token = L.llama_sampler_sample(greedy, one, -1)
            spent += time.perf_counter() - start
            done += NEW
        return done / spent

    def long_prompt(seconds):
        done, spent = 0, 0.0
        while spent < seconds or done == 0:
            clear(one)
            start = time.perf_counter()
            prompt(one, LONG_PROMPT)
            L.llama_sampler_sample(greedy, one, -1)
            spent += time.perf_counter() - start
            done += LONG_PROMPT
        return done / spent

    def chats(seconds):
        done, spent = 0, 0.0
        while spent < seconds or done == 0:
            clear(many)
            tokens = []
            for sequence in range(CHATS):
                prompt(many, PROMPT, sequence)
                tokens.append(L.llama_sampler_sample(greedy, many, -1))
            start = time.perf_counter()
            for i in range(NEW):
                run(many, [(token, PROMPT + i, s, True) for s, token in enumerate(tokens)])
                tokens = [L.llama_sampler_sample(greedy, many, s) for s in range(CHATS)]
            spent += time.perf_counter() - start
            done += NEW * CHATS
        return done / spent

    decode(0)
    return {"decode": decode, "prompt": long_prompt, "chats": chats}, {"llama-cpp-python": L.__version__}


compete(load)

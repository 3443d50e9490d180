"""Questions of an evaluation, asked by lm-evaluation-harness with PyTorch: `lm_eval_questions.py MODEL QUESTIONS`.

The texts are those of ../jackdaw/evaluate.ts. What is measured is its model's work alone: without the reading of data sets.
"""

import json
import os
import pathlib
import sys

from contestant import THREADS, compete, per_second

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ASKED, SHOWN, ANSWERS, NEW_TOKENS = 8, 5, 8, 32
BATCH = 8


def load():
    import lm_eval
    import torch
    import transformers
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(THREADS)
    lm = HFLM(pretrained=sys.argv[1], dtype="float32", device="cpu", batch_size=BATCH)
    lines = [json.loads(line) for line in pathlib.Path(sys.argv[2]).read_text().splitlines()]
    asked = lines[:ASKED]
    turn = 0

    def instance(kind, arguments):
        return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)

    def choices(count):
        nonlocal turn
        shown = lines[ASKED + (turn % 2) * SHOWN :][:count]
        turn += 1
        begin = "".join(f"Q: {line['question']}\nA: {line['choices'][line['answer']]}\n\n" for line in shown)
        lm.loglikelihood(
            [
                instance("loglikelihood", (f"{begin}Q: {line['question']}\nA:", f" {choice}"))
                for line in asked
                for choice in line["choices"]
            ],
            disable_tqdm=True,
        )

    def answers():
        settings = dict(until=[], max_gen_toks=NEW_TOKENS, do_sample=False)
        lm.generate_until(
            [instance("generate_until", (f"Q: {line['question']}\nA:", settings)) for line in asked[:ANSWERS]],
            disable_tqdm=True,
        )

    choices(0)
    answers()
    return {
        "zero": lambda seconds: per_second(seconds, ASKED, lambda: choices(0)),
        "few": lambda seconds: per_second(seconds, ASKED, lambda: choices(SHOWN)),
        "answers": lambda seconds: per_second(seconds, ANSWERS, answers),
    }, {"PyTorch": torch.__version__, "transformers": transformers.__version__, "lm-evaluation-harness": lm_eval.__version__}


compete(load)

"""Records what lm-evaluation-harness says of a model on local data sets, asked as `jackdaw eval` asks them.

    pip install lm_eval transformers torch
    jackdaw convert SmolLM2-135M-Instruct.Q4_1.gguf smollm2/
    python lm_eval_fixture.py smollm2/ DATA-SETS/

Log-likelihoods and scores go into lm-eval.json, nothing of the questions.
"""

import json
import pathlib
import sys

import lm_eval
from lm_eval.models.huggingface import HFLM

HERE = pathlib.Path(__file__).parent
model_folder, sets = sys.argv[1], pathlib.Path(sys.argv[2])
LIMIT = 60
METRICS = [dict(metric=name, aggregation="mean", higher_is_better=True) for name in ["acc", "acc_norm"]]


def task(name, records, **config):
    """Questions in lines of JSON, which is what `datasets` takes."""
    flat = pathlib.Path("/tmp") / f"lm-eval-{name}.jsonl"
    flat.write_text("".join(json.dumps(record) + "\n" for record in records[:LIMIT]))
    return dict(
        task=name,
        dataset_path="json",
        dataset_kwargs=dict(data_files=dict(test=str(flat))),
        test_split="test",
        output_type="multiple_choice",
        metric_list=METRICS,
        **config,
    )


commonsenseqa = [json.loads(line) for line in (sets / "commonsenseqa-dev.jsonl").read_text().splitlines()]
strategyqa = json.loads((sets / "strategyqa.json").read_text())["examples"]
tasks = [
    task(
        "commonsenseqa",
        [
            dict(
                stem=record["question"]["stem"].strip(),
                choices=[choice["text"] for choice in record["question"]["choices"]],
                right="ABCDE".index(record["answerKey"]),
            )
            for record in commonsenseqa
        ],
        doc_to_text="Q: {{stem}}\nA:",
        doc_to_choice="choices",
        doc_to_target="right",
    ),
    task(
        "strategyqa",
        [
            dict(stem=record["input"].strip(), choices=["Yes", "No"], right=1 - record["target_scores"]["Yes"])
            for record in strategyqa
        ],
        doc_to_text="Q: {{stem}}\nA:",
        doc_to_choice="choices",
        doc_to_target="right",
    ),
]
results = lm_eval.simple_evaluate(
    model=HFLM(pretrained=model_folder, dtype="float32", device="cpu", batch_size=8),
    tasks=tasks,
    log_samples=True,
    bootstrap_iters=0,
)
fixture = {}
for name in ["commonsenseqa", "strategyqa"]:
    scores = results["results"][name]
    samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
    fixture[name] = dict(
        acc=scores["acc,none"],
        acc_norm=scores["acc_norm,none"],
        # Of every choice, to the digits that agree in float32.
        logProbs=[[round(response[0][0], 4) for response in sample["resps"]] for sample in samples],
    )
out = dict(version=lm_eval.__version__, limit=LIMIT, tasks=fixture)
(HERE / "lm-eval.json").write_text(json.dumps(out) + "\n")
print({name: (of["acc"], of["acc_norm"]) for name, of in fixture.items()})
print(json.dumps({k: v for k, v in results["results"].items()}, indent=1))
print([k for k in results.keys()], results["configs"]["strategyqa"].keys())

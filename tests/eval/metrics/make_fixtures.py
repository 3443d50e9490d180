"""Records what sacrebleu and rouge_score say of some texts: `pip install sacrebleu rouge_score`, then run this."""

import json
import pathlib
import random

import nltk.stem.porter
import rouge_score.rouge_scorer
import sacrebleu

HERE = pathlib.Path(__file__).parent

# Numbers, entities, dashes, several scripts, odd spaces, nothing at all.
PAIRS = [
    ("The jackdaw sat on the tower.", ["A jackdaw sat on the tower.", "The jackdaw was sitting on a tower"]),
    ("It costs 1,234.50 dollars - or $3.5, he said.", ["It costs $1,234.50, or 3.5 dollars - he said!"]),
    ("&quot;A &amp; B&quot; &lt;skipped> well-known co-\noperation", ['"A & B" <skipped>well-known cooperation', "A and B"]),
    ("鳥は塔の上に座っていた。", ["鳥は塔に座っていた。"]),
    ("Über den Dächern – „Krähen“ fliegen… 3–4 Stück (50 %)", ["Über die Dächer fliegen „Krähen“: 3-4 Stück, 50%."]),
    ("a\u00a0b\u2003c d\u3000e", ["a b c d e"]),
    ("", ["nothing was said"]),
    ("word", ["word"]),
    ("the the the the", ["the cat", "the the dog"]),
    ("no match here", ["etwas ganz anderes"]),
    ("in 2021. It ended.", ["In 2021 it ended."]),
    ("one two three four five six  ", ["one two three four seven", "one two three five six", "two three four five"]),
    ("x=y+z; f(x)->{a:b} ~ `q` ^2 @home 5-6 a-1 1-a", ["x = y + z ; f(x) -> { a : b }"]),
    ("émigré naïve œuvre 😀 emoji", ["emigre naive oeuvre 😀 emoji !"]),
    ("short", ["a much longer reference than that"]),
]


def bleu_fixture():
    cases = []
    for tokenizer in ["13a", "intl", "char", "none"]:
        for smoothing in ["exp", "floor", "add-k", "none"]:
            for lowercase in [False, True]:
                metric = dict(tokenize=tokenizer, smooth_method=smoothing, lowercase=lowercase)
                sentences = []
                for text, references in PAIRS:
                    said = sacrebleu.BLEU(effective_order=True, **metric).sentence_score(text, references)
                    sentences.append(said.score)
                # sacrebleu wants as many references for every text.
                twice = [(references + references[:1])[:2] for _, references in PAIRS]
                corpus = sacrebleu.BLEU(**metric).corpus_score([text for text, _ in PAIRS], list(map(list, zip(*twice))))
                cases.append(
                    dict(
                        tokenizer=tokenizer,
                        smoothing=smoothing,
                        lowercase=lowercase,
                        sentences=sentences,
                        corpus=dict(score=corpus.score, precisions=corpus.precisions, brevityPenalty=corpus.bp,
                                    length=corpus.sys_len, referenceLength=corpus.ref_len),
                    )
                )
    tokens = {}
    for name in ["13a", "intl", "char", "none"]:
        tokenizer = sacrebleu.BLEU(tokenize=name).tokenizer
        tokens[name] = [tokenizer(text.rstrip()).split() for text, _ in PAIRS]
    return dict(version=sacrebleu.__version__, pairs=PAIRS, tokens=tokens, cases=cases)


LONG = [
    (
        "The cats were sitting happily.\nDogs run and the relational databases proceed.\nNobody knows.",
        ["A cat sat happily on the mat.\nDogs ran; a relation of data proceeded.\n\nNobody knew.",
         "Databases are relational.\nThe cats sit."],
    ),
    ("police killed the gunman", ["police kill the gunman", "the gunman police killed"]),
    ("a b c d e\nf g a b", ["f g c\na b d e a"]),
]


def rouge_fixture():
    cases = []
    for stemmer in [False, True]:
        scorer = rouge_score.rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=stemmer)
        for text, references in PAIRS + LONG:
            scores = scorer.score_multi(references, text)
            cases.append(
                dict(stemmer=stemmer, text=text, references=references,
                     scores={name: [s.precision, s.recall, s.fmeasure] for name, s in scores.items()})
            )
    # Words put together of what the rules look at.
    draw = random.Random(1)
    stems = "trou bl rel con form sky hop fall fil fizz try y enjoy sens dig pl ag control pred oper syz ab log".split()
    ends = ("s es ies ied ed eed ing y ational tional izer bli abli alli entli ousli ization ator alism iveness fulness "
            "ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant "
            "ement ment ent ion tion sion ou ism ate iti ous ive ize e ll lle ly").split()
    words = sorted({a + b + c for a in stems for b in ends for c in ["", draw.choice(ends)]})
    words = sorted(draw.sample(words, 700)) + "sky skies dying innings howe proceed news ties dies as 1990s caresses".split()
    porter = nltk.stem.porter.PorterStemmer()
    return dict(cases=cases, stems=[[word, porter.stem(word)] for word in words])


for name, fixture in [("sacrebleu", bleu_fixture()), ("rouge", rouge_fixture())]:
    (HERE / f"{name}.json").write_text(json.dumps(fixture, ensure_ascii=False) + "\n")

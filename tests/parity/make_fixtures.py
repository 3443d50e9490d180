"""Write tiny reference checkpoints with the answers of transformers: one folder each, beside this file.

    python make_fixtures.py [NAME ...]

A folder has config.json and model.safetensors (random weights), inputs.safetensors, outputs.safetensors and
grads.safetensors (d loss / d parameter, where there is a loss), and generation.json: what greedy and beam search answer
to one prompt, of models that write.
t5-buckets.json has the buckets of relative positions, as [bucket, how many offsets in a row].
Needs torch and transformers 5.
"""

import itertools
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers.models.t5.modeling_t5 import T5Attention

HERE = Path(__file__).parent
VOCAB = 47
torch.set_num_threads(1)


def causal(model_class, config, padding='right', blank=False, **options):
    ids = dict(vocab_size=VOCAB, bos_token_id=0, eos_token_id=0, pad_token_id=0)
    return model_class, config(**{**ids, **options}), dict(length=24, padding=padding, blank=blank)


def gpt2(**options):
    off = dict(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    size = dict(n_positions=40, n_embd=12, n_layer=2, n_head=2)
    return causal(transformers.GPT2LMHeadModel, transformers.GPT2Config, **{**off, **size, **options})


def llama(**options):
    size = dict(hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4)
    return causal(
        transformers.LlamaForCausalLM,
        transformers.LlamaConfig,
        **{**size, 'max_position_embeddings': 64, 'num_key_value_heads': 2, **options},
    )


def like_llama(model_class, config, **options):
    size = dict(
        hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return causal(model_class, config, **{**size, **options})


def mistral(**options):
    return like_llama(transformers.MistralForCausalLM, transformers.MistralConfig, **options)


def qwen2(**options):
    return like_llama(transformers.Qwen2ForCausalLM, transformers.Qwen2Config, **options)


def qwen3(**options):
    return like_llama(transformers.Qwen3ForCausalLM, transformers.Qwen3Config, **options)


def gemma3(**options):
    return like_llama(transformers.Gemma3ForCausalLM, transformers.Gemma3TextConfig, **options)


def layers(kinds):
    return [dict(s='sliding_attention', f='full_attention')[kind] for kind in kinds]


def gpt1(**options):
    off = dict(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    size = dict(n_positions=40, n_embd=12, n_layer=2, n_head=2)
    return causal(transformers.OpenAIGPTLMHeadModel, transformers.OpenAIGPTConfig, **{**off, **size, **options})


def gpt_neo(layers, **options):
    size = dict(max_position_embeddings=40, hidden_size=12, num_heads=2, num_layers=len(layers))
    return causal(
        transformers.GPTNeoForCausalLM, transformers.GPTNeoConfig,
        **{**size, 'attention_types': [[layers, 1]], **options},
    )


def codegen(**options):
    off = dict(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    size = dict(n_positions=40, n_ctx=40, n_embd=24, n_layer=2, n_head=4, rotary_dim=4)
    return causal(transformers.CodeGenForCausalLM, transformers.CodeGenConfig, **{**off, **size, **options})


# Padding before the text, positions from elsewhere, and segments: a token of the vocabulary marks each.
def with_segments(case, length=23):
    model_class, config, shape = case
    return model_class, config, {**shape, 'length': length, 'padding': 'left', 'segments': True}


# Padding within the text, longer than a window: queries after it see padding alone.
def padded_within(case):
    model_class, config, shape = case
    return model_class, config, {**shape, 'padding': 'within'}


def t5(length=24, batch=2, decoder_inputs=False, blank=False, labels=True, **options):
    size = dict(d_model=16, d_kv=6, d_ff=20, num_layers=2, num_heads=2)
    config = transformers.T5Config(
        vocab_size=VOCAB, dropout_rate=0, decoder_start_token_id=0, **{**size, **options}
    )
    shape = dict(length=length, batch=batch, decoder_inputs=decoder_inputs, blank=blank, labels=labels)
    return transformers.T5ForConditionalGeneration, config, shape


def bert(architecture, length=13, blank=False, **options):
    off = dict(hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    size = dict(hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2)
    config = transformers.BertConfig(
        vocab_size=VOCAB, max_position_embeddings=20, **{**off, **size, **options}
    )
    return getattr(transformers, architecture), config, dict(length=length, blank=blank, draw=draw_text)


def marian(length=14, answers=None, decoder_inputs=False, blank=False, **options):
    off = dict(dropout=0, attention_dropout=0, activation_dropout=0)
    size = dict(
        d_model=12, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=3,
        encoder_ffn_dim=20, decoder_ffn_dim=16, max_position_embeddings=32,
    )
    ids = dict(pad_token_id=0, decoder_start_token_id=0, eos_token_id=1, forced_eos_token_id=None)
    config = transformers.MarianConfig(vocab_size=VOCAB, **{**off, **size, **ids, **options})
    shape = dict(length=length, answers=answers, decoder_inputs=decoder_inputs, blank=blank)
    return transformers.MarianMTModel, config, shape


def rope(rope_type, theta=10000.0, **options):
    return dict(rope_type=rope_type, rope_theta=theta, **options)


# A model of transformers 4 with a head of its own, as such models are still stored.
def as_written_by_4(config):
    for field in ('scale_decoder_outputs', 'dense_act_fn', 'is_gated_act', 'relative_attention_max_distance'):
        del config[field]
    return {**config, 'tie_word_embeddings': False, 'transformers_version': '4.23.1'}


CASES = {
    'bert': lambda: bert('BertForPreTraining'),
    'bert-masked-lm-untied': lambda: bert(
        'BertForMaskedLM', length=17, hidden_size=15, num_attention_heads=3, type_vocab_size=1, hidden_act='gelu_new',
        layer_norm_eps=1e-3, tie_word_embeddings=False, pad_token_id=5,
    ),
    'bert-classifier': lambda: bert('BertForSequenceClassification', num_labels=3, num_hidden_layers=1, hidden_act='relu'),
    'bert-encoder': lambda: bert('BertModel', length=9, num_attention_heads=1, type_vocab_size=3),
    'gpt2': lambda: gpt2(),
    'gpt2-scaled-by-layer': lambda: gpt2(
        n_layer=3, scale_attn_by_inverse_layer_idx=True, n_inner=24, activation_function='relu',
        tie_word_embeddings=False,
    ),
    'gpt2-unscaled': lambda: gpt2(scale_attn_weights=False, activation_function='gelu', layer_norm_epsilon=1e-3),
    # A sequence of padding alone, and queries that have nothing else before them.
    'gpt1-blank': lambda: gpt1(padding='left', blank=True, n_layer=1),
    'gpt2-blank': lambda: gpt2(padding='left', blank=True),
    'bert-blank': lambda: bert('BertForMaskedLM', blank=True, length=7),
    't5-blank': lambda: t5(decoder_inputs=True, blank=True, labels=False, num_layers=1),
    'transformer-blank': lambda: marian(decoder_inputs=True, blank=True, length=9),
    # The row of the padding token learns from the head only.
    'llama-padding-row': lambda: llama(pad_token_id=7, num_hidden_layers=1, tie_word_embeddings=True),
    'gemma3-padding-row': lambda: gemma3(pad_token_id=7, num_hidden_layers=1, head_dim=6, tie_word_embeddings=False),
    # Said to be the table of tokens, and stored beside it.
    'llama-own-head': lambda: llama(tie_word_embeddings=True, num_hidden_layers=1, num_key_value_heads=1),
    'llama-rope-dynamic': lambda: llama(
        max_position_embeddings=16, num_hidden_layers=1, head_dim=8, rope_parameters=rope('dynamic', 50.0, factor=3.0)
    ),
    'llama': lambda: llama(),
    'llama-multi-query-tied': lambda: llama(num_key_value_heads=1, tie_word_embeddings=True, hidden_act='gelu'),
    'llama-biases-wide-heads': lambda: llama(
        num_key_value_heads=4, head_dim=10, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-3
    ),
    'llama-left-padding': lambda: llama(padding='left', num_hidden_layers=1),
    'llama-rope-linear': lambda: llama(rope_parameters=rope('linear', factor=3.0)),
    'llama-rope-llama3': lambda: llama(
        num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        rope_parameters=rope(
            'llama3', 500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
        ),
    ),
    'llama-rope-yarn': lambda: llama(
        num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        rope_parameters=rope('yarn', 200.0, factor=4.0, original_max_position_embeddings=16)
    ),
    # Windows that the padding fills.
    'mistral': lambda: mistral(head_dim=6, sliding_window=3, padding='left', rope_parameters=rope('default', 500.0)),
    'mistral-wide-heads': lambda: mistral(
        head_dim=16, num_key_value_heads=1, sliding_window=5, rms_norm_eps=1e-3, tie_word_embeddings=True
    ),
    'mistral-no-window': lambda: mistral(head_dim=4, num_key_value_heads=4, sliding_window=None),
    'qwen2': lambda: qwen2(num_key_value_heads=1, tie_word_embeddings=True, padding='left'),
    'qwen2-windows': lambda: qwen2(
        num_hidden_layers=3, use_sliding_window=True, sliding_window=4, max_window_layers=1, hidden_act='gelu',
        rope_parameters=rope(
            'yarn', 200.0, factor=4.0, original_max_position_embeddings=16, truncate=False, mscale=0.7, mscale_all_dim=1.2
        ),
    ),
    'qwen3': lambda: qwen3(head_dim=10, tie_word_embeddings=True),
    'qwen3-windows': lambda: qwen3(
        num_hidden_layers=3, head_dim=6, num_attention_heads=3, num_key_value_heads=3, attention_bias=True,
        use_sliding_window=True, sliding_window=3, layer_types=layers('sfs'), rms_norm_eps=1e-3, padding='left',
    ),
    'gemma3': lambda: gemma3(
        num_hidden_layers=3, head_dim=6, sliding_window=4, layer_types=layers('sfs'), query_pre_attn_scalar=9,
        padding='left',
    ),
    'gemma3-pattern': lambda: gemma3(
        num_hidden_layers=7, head_dim=16, num_attention_heads=2, num_key_value_heads=1, sliding_window=5,
        query_pre_attn_scalar=24, attention_bias=True, final_logit_softcapping=3.0, tie_word_embeddings=False,
        hidden_activation='silu',
        rope_parameters=dict(
            full_attention=rope('linear', 1000.0, factor=8.0), sliding_attention=rope('default', 100.0)
        ),
    ),
    'gpt1': lambda: gpt1(),
    'gpt1-relu-untied': lambda: gpt1(n_embd=15, n_head=3, n_layer=1, afn='relu', tie_word_embeddings=False),
    'gpt1-segments': lambda: with_segments(gpt1(afn='swish', n_head=1, layer_norm_epsilon=1e-3)),
    'gpt-neo': lambda: gpt_neo(['global', 'local'], window_size=3),
    'gpt-neo-untied': lambda: gpt_neo(
        ['local', 'local', 'global'], window_size=7, hidden_size=15, num_heads=3, intermediate_size=20,
        activation_function='relu', tie_word_embeddings=False,
    ),
    'gpt-neo-segments': lambda: with_segments(gpt_neo(
        ['local'], window_size=2, hidden_size=16, num_heads=1, activation_function='gelu', layer_norm_epsilon=1e-3,
    )),
    'gpt-neo-hole': lambda: padded_within(gpt_neo(['local', 'global'], window_size=3, num_heads=3)),
    'codegen': lambda: codegen(),
    'codegen-tied': lambda: codegen(
        n_layer=1, n_embd=48, n_head=8, rotary_dim=6, n_inner=20, tie_word_embeddings=True, activation_function='relu',
    ),
    'codegen-segments': lambda: with_segments(codegen(n_layer=1, n_head=12, rotary_dim=2, layer_norm_epsilon=1e-3)),
    't5': lambda: t5(num_decoder_layers=1),
    't5-few-buckets': lambda: t5(
        length=40, decoder_inputs=True, num_layers=1, num_decoder_layers=2, relative_attention_num_buckets=11,
        relative_attention_max_distance=19, feed_forward_proj='gelu',
    ),
    't5-gated-tied': lambda: t5(
        batch=1, feed_forward_proj='gated-silu', tie_word_embeddings=False, num_layers=1
    ),
    'transformer': lambda: marian(activation_function='relu', scale_embedding=True, answers=dict(forced_eos_token_id=1)),
    'transformer-two-dictionaries': lambda: marian(
        length=9, decoder_vocab_size=VOCAB + 6, share_encoder_decoder_embeddings=False, activation_function='swish',
        d_model=15, encoder_attention_heads=3, decoder_attention_heads=1, decoder_layers=2, decoder_start_token_id=2,
        answers=dict(bad_words_ids=[[28], [26]]),
    ),
    't5-gated': lambda: t5(feed_forward_proj='gated-gelu', tie_word_embeddings=False, num_layers=1, num_heads=3),
    't5-gated-4': lambda: t5(
        feed_forward_proj='gated-gelu', tie_word_embeddings=False, num_layers=1, layer_norm_epsilon=1e-3
    ),
}
OWN_HEAD = {'t5-gated', 't5-gated-4', 'llama-own-head'}
# Its sequences are longer than the positions that a cache has.
SILENT = {'llama-rope-dynamic'}
REWRITTEN = {'t5-gated-4': as_written_by_4}


def randomise(model, generator):
    """Give every parameter a value that matters: none stays zero or one."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue  # Marian's positions: sines and cosines, which no checkpoint has
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            value = noise * (0.9 / parameter[0].numel() ** 0.5)
        elif name.endswith('bias'):
            value = 0.2 * noise
        else:
            value = 1 + 0.2 * noise
        parameter.data.copy_(value)
    for name, buffer in model.named_buffers():
        if name == 'final_logits_bias':
            buffer.copy_(0.5 * torch.randn(buffer.shape, generator=generator))


def draw_inputs(
    model, generator, length, batch=2, decoder_inputs=False, padding='right', segments=False, blank=False, labels=True
):
    wants_labels = labels
    input_ids = torch.randint(3, VOCAB, (batch, length), generator=generator)
    mask = torch.ones_like(input_ids)
    mask[0, -5:] = 0
    if padding == 'left':
        mask = mask.flip(1)
    if padding == 'within':
        mask = mask.roll(-8, 1)
    if blank:
        mask[1] = 0
    if model.config.is_encoder_decoder:
        labels = torch.randint(3, VOCAB, (batch, length - 3), generator=generator)
        labels[-1, -4:] = -100
    else:
        labels = input_ids.masked_fill(mask == 0, -100)
    inputs = dict(input_ids=input_ids, attention_mask=mask, labels=labels)
    if segments:
        inputs.update(token_type_ids=torch.randint(3, VOCAB, (batch, length), generator=generator))
        inputs.update(position_ids=torch.arange(length).flip(0).expand(batch, -1))
    if decoder_inputs:
        seen = torch.ones_like(labels)
        seen[0, :6] = 0 if blank else 1
        seen[0, -6:] = 1 if blank else 0
        inputs.update(decoder_input_ids=labels.flip(1).clamp(min=3), decoder_attention_mask=seen)
    if not wants_labels:
        del inputs['labels']
    return inputs


# What BERT reads: segments, padding on either side, and words to be told again.
def draw_text(model, generator, length, blank=False):
    name, config = type(model).__name__, model.config
    input_ids = torch.randint(6, VOCAB, (3, length), generator=generator)
    input_ids[1, -4:] = config.pad_token_id
    mask = torch.ones_like(input_ids)
    mask[1, -4:] = 0
    mask[2, : length if blank else 2] = 0
    segments = torch.zeros_like(input_ids)
    segments[:, 6:] = config.type_vocab_size - 1
    inputs = dict(input_ids=input_ids, attention_mask=mask, token_type_ids=segments)
    if name == 'BertModel':
        inputs.update(position_ids=torch.arange(length).flip(0).expand(3, -1))
    elif name == 'BertForSequenceClassification':
        inputs.update(labels=torch.tensor([2, 0, 1]))
    else:
        labels = torch.randint(0, VOCAB, (3, length), generator=generator)
        labels[:, ::3] = -100
        inputs.update(labels=labels)
    if name == 'BertForPreTraining':
        inputs.update(next_sentence_label=torch.tensor([0, 1, 1]))
    return inputs


def generations(model, prompt, rules):
    fixed = dict(do_sample=False, max_new_tokens=11, pad_token_id=0, bos_token_id=0, **rules)
    if model.config.is_encoder_decoder:
        # transformers' cache has as many layers as the encoder, even where the decoder has more.
        fixed.update(decoder_start_token_id=model.config.decoder_start_token_id, use_cache=False)

    def answer(**options):
        config = transformers.GenerationConfig(**fixed, **options)
        with torch.no_grad():
            return model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config)[0].tolist()

    # Ordinary tokens end sequences, so that lengths differ.
    greedy, beams = answer(eos_token_id=VOCAB), answer(num_beams=4, eos_token_id=VOCAB)
    ends = [greedy[-5], next((token for token in beams[-8:] if token != greedy[-5]), 0)]
    runs = [
        dict(num_beams=1, eos_token_id=ends[0]),
        dict(num_beams=2, eos_token_id=ends[1]),
        dict(num_beams=3, length_penalty=0.0, eos_token_id=ends[1]),
        dict(num_beams=4, length_penalty=0.6, eos_token_id=ends),
        dict(num_beams=4, length_penalty=1.0, early_stopping=True, eos_token_id=ends[0]),
        dict(num_beams=4, length_penalty=1.5, early_stopping='never', eos_token_id=ends[0]),
        dict(num_beams=5, length_penalty=2.0, eos_token_id=ends),
        dict(num_beams=3, length_penalty=-1.0, eos_token_id=ends[1]),
    ]
    return [{**run, 'max_new_tokens': fixed['max_new_tokens'], 'output_ids': answer(**run)} for run in runs]


def make(name):
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    model_class, config, shape = CASES[name]()
    model = model_class(config)
    if name in OWN_HEAD:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    randomise(model.eval(), generator)
    draw, rules = shape.pop('draw', draw_inputs), shape.pop('answers', None) or {}
    inputs = draw(model, generator, **shape)
    outputs = model(**inputs)
    if outputs.get('loss') is not None:
        outputs.loss.backward()

    folder = HERE / name
    model.config.architectures = [model_class.__name__]
    model.save_pretrained(folder)
    generation_config = folder / 'generation_config.json'
    generation_config.unlink(missing_ok=True)
    if rules:
        generation_config.write_text(json.dumps(rules) + '\n')
    if name in REWRITTEN:
        path = folder / 'config.json'
        path.write_text(json.dumps(REWRITTEN[name](json.loads(path.read_text())), indent=2) + '\n')

    def write(file, tensors):
        save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, folder / file)

    write('inputs.safetensors', inputs)
    write('outputs.safetensors', {k: v for k, v in outputs.items() if isinstance(v, torch.Tensor)})
    grads = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    if grads:
        write('grads.safetensors', grads)
    if not model.can_generate() or name in SILENT:
        return
    prompt = inputs['input_ids'][-1:, :13]
    answers = dict(input_ids=prompt[0].tolist(), runs=generations(model, prompt, rules))
    (folder / 'generation.json').write_text(json.dumps(answers) + '\n')
    print(name, [len(run['output_ids']) for run in answers['runs']])


def make_buckets():
    cases = []
    for count, farthest in [(32, 128), (32, 20), (11, 19), (4, 3), (7, 1000), (64, 256), (33, 129), (12, 7)]:
        offsets = torch.arange(-farthest, farthest + 1)
        case = dict(count=count, maxDistance=farthest)
        for key, bidirectional in [('bidirectional', True), ('causal', False)]:
            found = T5Attention._relative_position_bucket(offsets, bidirectional, count, farthest).tolist()
            case[key] = [[bucket, len(list(run))] for bucket, run in itertools.groupby(found)]
        cases.append(case)
    (HERE / 't5-buckets.json').write_text(json.dumps(cases) + '\n')


for name in sys.argv[1:] or CASES:
    make(name)
make_buckets()

/**
 * The reading list, and of every paper what no file says: where it lies, or is to lie, and what shows that it is usable.
 * Titles are read from the files' headers, the numbers that are the reference's from fixtures, and what was learned from
 * the results of recipes (paper-status.ts); `jackdaw papers` shows it all.
 */

export interface Paper {
  readonly number: number
  /** As recipes and commands call it. */
  readonly slug: string
  /** As everybody calls it. */
  readonly name: string
  /** Paths from src/, the one whose header is the paper's first. */
  readonly files: readonly string[]
  /** The paper whose file and header these are, where it is not this one: what this one adds is told there. */
  readonly within?: string
  /** Which of the fixtures of its file are its own: those whose name begins so. Default: all. */
  readonly fixtures?: string
  /** What can be done with it in a few lines. Left out while it is to be built. */
  readonly usable?: Usable
}

export interface Usable {
  readonly what: string
  /** The tests that hold it: paths from the root of the repository. */
  readonly by: readonly string[]
}

const GENERATE = 'tests/cli/generate.test.ts'
const EVAL = 'tests/cli/eval.test.ts'
const FORWARD = 'tests/cli/forward.test.ts'
const SERVED = 'tests/generate/gpts-served.test.ts'
const CONTROL_RECIPES = 'tests/recipes/ppo-control.test.ts'
/** Its fixtures hold what the reference generates, too. */
const PARITY = 'tests/parity/parity.test.ts'

export const PAPERS: readonly Paper[] = [
  {
    number: 1,
    slug: 'transformer',
    name: 'Transformer (Attention Is All You Need)',
    files: ['models/transformer.ts'],
    usable: {
      what: 'generate, forward and grad on Marian’s checkpoints; beams token for token, with either length penalty',
      by: ['tests/models/transformer.test.ts', 'tests/generate/beam.test.ts', PARITY, FORWARD],
    },
  },
  {
    number: 2,
    slug: 'gpt1',
    name: 'GPT-1',
    files: ['models/gpt1.ts', 'train/fine-tune.ts'],
    usable: {
      what: 'generate, tokenize (its own vocabulary), forward and grad on its checkpoints; fine-tuning on all four kinds of task',
      by: [PARITY, SERVED, 'tests/text/vocabularies.test.ts', 'tests/train/fine-tune.test.ts'],
    },
  },
  {
    number: 3,
    slug: 'gpt2',
    name: 'GPT-2',
    files: ['models/gpt2.ts'],
    usable: {
      what: 'generate, tokenize, forward and grad on its checkpoints; cached decoding and beams token for token',
      by: [GENERATE, PARITY, 'tests/generate/cached.test.ts', 'tests/text/tokenize-command.test.ts', FORWARD],
    },
  },
  {
    number: 4,
    slug: 'gpt3',
    name: 'GPT-3',
    files: ['models/gpt3.ts'],
    usable: {
      what: 'generate, forward and grad on GPT-Neo’s checkpoints, cached beyond the window; the eight sizes, batch ramp and learning rate',
      by: [PARITY, SERVED, 'tests/generate/cached.test.ts', 'tests/models/gpts.test.ts'],
    },
  },
  {
    number: 5,
    slug: 'in-context-learning',
    name: 'In-context learning',
    files: ['prompt/few-shot.ts'],
    usable: {
      what: 'jackdaw eval --num-fewshot K: choices by normalised likelihood; in the library also free answers by beams',
      by: ['tests/prompt/few-shot.test.ts', 'tests/eval/harness.test.ts', 'tests/eval/lm-eval.test.ts', EVAL],
    },
  },
  {
    number: 6,
    slug: 'codex',
    name: 'Codex',
    files: [
      'eval/code/human-eval.ts',
      'eval/code/sandbox.ts',
      'eval/code/guest.ts',
      'eval/code/wall.ts',
      'models/codegen.ts',
    ],
    usable: {
      what: 'HumanEval on any model that writes: nucleus samples, pass@k, each program in a sandbox; 164 canonical solutions pass, escapes are contained; CodeGen’s checkpoints generate',
      by: ['tests/eval/code/human-eval.test.ts', 'tests/eval/code/escapes.test.ts', SERVED],
    },
  },
  {
    number: 7,
    slug: 'chain-of-thought',
    name: 'Chain-of-thought',
    files: ['prompt/chain-of-thought.ts'],
    usable: {
      what: 'jackdaw eval --prompt cot --samples N: exemplars for twelve data sets, the answer stated last, the majority',
      by: ['tests/prompt/chain-of-thought.test.ts', 'tests/prompt/answers.test.ts', 'tests/eval/harness.test.ts'],
    },
  },
  {
    number: 8,
    slug: 'instructgpt',
    name: 'InstructGPT',
    files: ['train/reward.ts', 'train/sft.ts', 'train/lora.ts', 'train/ppo.ts'],
    usable: {
      what: '`jackdaw train reward`, `instructgpt/ppo`: a reward model from rankings of your own, equal to transformers’ sequence classifier, and PPO against it with pre-training beside; with LoRA too',
      by: ['tests/train/reward.test.ts', 'tests/train/rlhf.test.ts', 'tests/recipes/instructgpt.test.ts'],
    },
  },
  {
    number: 9,
    slug: 'rlhf',
    name: 'RLHF (Christiano; Ziegler)',
    files: ['train/preferences.ts'],
    usable: {
      what: 'jackdaw train rlhf/pendulum; RewardEnsemble over any steps that are rows of numbers, beside any loop of PPO; the loss over the best of n answers',
      by: ['tests/train/preferences.test.ts', CONTROL_RECIPES],
    },
  },
  {
    number: 10,
    slug: 'ppo',
    name: 'PPO',
    files: ['train/ppo.ts', 'train/ppo-control.ts', 'models/actor-critic.ts', 'data/worlds/world.ts'],
    usable: {
      what: '`jackdaw train instructgpt/ppo` against a reward model or a rule, ppo/cartpole and ppo/pendulum in worlds; the loops as functions, a killed run ends as a whole one; the policy of the cart played in the page',
      by: [
        'tests/train/ppo.test.ts',
        'tests/train/ppo-control.test.ts',
        'tests/train/rlhf.test.ts',
        'tests/recipes/instructgpt.test.ts',
        CONTROL_RECIPES,
      ],
    },
  },
  {
    number: 11,
    slug: 'flan',
    name: 'FLAN',
    files: ['data/instruction/flan.ts', 'data/instruction/p3.ts'],
    usable: {
      what: 'templates and their inversions, options, clusters held out whole, mixing and packing of your own data sets or of P3’s files; classes by rank',
      by: [
        'tests/data/instruction/flan.test.ts',
        'tests/data/instruction/p3.test.ts',
        'tests/eval/rank-classification.test.ts',
      ],
    },
  },
  {
    number: 12,
    slug: 'flan-t5',
    name: 'Flan-T5',
    files: ['models/t5.ts', 'data/instruction/flan-collection.ts'],
    within: 't5',
    fixtures: 't5-gated',
    usable: {
      what: 'generate, forward and grad on its checkpoints; its tuning, with and without exemplars and rationales',
      by: [GENERATE, FORWARD, 'tests/recipes/flan.test.ts'],
    },
  },
  {
    number: 13,
    slug: 'llama',
    name: 'LLaMA',
    files: ['models/llama.ts'],
    usable: {
      what: 'load and generate, from folders, GGUF and the hub; SmolLM2-135M’s tokens under greedy decoding',
      by: ['tests/generate/smollm2.test.ts', GENERATE],
    },
  },
  { number: 14, slug: 'kosmos1', name: 'Kosmos-1', files: ['models/kosmos1.ts'] },
  {
    number: 15,
    slug: 'glm',
    name: 'GLM',
    files: ['models/glm.ts', 'data/blanks.ts', 'generate/fill-blanks.ts'],
    usable: {
      what: 'generate fills [MASK], [sMASK] and [gMASK], several in a text, greedily, by beams or drawn; served',
      by: ['tests/generate/blanks.test.ts'],
    },
  },
  {
    number: 16,
    slug: 'bert',
    name: 'BERT',
    files: ['models/bert.ts', 'data/masked-lm.ts'],
    usable: {
      what: 'forward and grad on its checkpoints; MiniLM’s embeddings, in the library and at /v1/embeddings',
      by: ['tests/generate/embedder.test.ts', 'tests/server/embeddings.test.ts', PARITY],
    },
  },
  {
    number: 17,
    slug: 'lamda',
    name: 'LaMDA',
    files: ['agent/lamda.ts', 'agent/retrieval.ts', 'agent/toolset.ts'],
    usable: {
      what: 'responses sampled, filtered and ranked by any served model; its toolset with sources, and the research loop',
      by: ['tests/agent/lamda.test.ts', 'tests/agent/toolset.test.ts'],
    },
  },
  {
    number: 18,
    slug: 't5',
    name: 'T5',
    files: ['models/t5.ts'],
    usable: {
      what: 'generate, forward and grad on its checkpoints; beams token for token',
      by: [GENERATE, PARITY, FORWARD],
    },
  },
  {
    number: 19,
    slug: 'prompting',
    name: 'Pre-train, prompt, predict',
    files: ['prompt/cloze.ts', 'prompt/verbalizer.ts', 'prompt/soft-prompt.ts'],
    usable: {
      what: 'cloze prompts for BERT, prefix prompts for models that write, verbalizers, ensembles; soft prompts as PEFT’s files',
      by: ['tests/prompt/masked-model.test.ts', 'tests/prompt/verbalizer.test.ts', 'tests/prompt/soft-prompt.test.ts'],
    },
  },
  { number: 20, slug: 'multimodal-cot', name: 'Multimodal chain-of-thought', files: ['models/multimodal-cot.ts'] },
  {
    number: 21,
    slug: 'offsite-tuning',
    name: 'Offsite-tuning',
    files: ['train/offsite.ts'],
    usable: {
      what: 'an emulator of any causal model as a folder of its own, taught by the whole; adapters tuned elsewhere, checked and plugged in',
      by: ['tests/train/offsite.test.ts'],
    },
  },
  {
    number: 22,
    slug: 'emergent-abilities',
    name: 'Emergent abilities',
    files: ['eval/scaling.ts'],
    usable: {
      what: 'families over training FLOPs beside the random baseline: where an ability emerges, how sharp its curve is, the chart',
      by: ['tests/eval/scaling.test.ts'],
    },
  },
  {
    number: 23,
    slug: 'zero-shot-cot',
    name: 'Zero-shot reasoners',
    files: ['prompt/zero-shot-cot.ts'],
    usable: {
      what: 'jackdaw eval --prompt zero-shot-cot: two stages, and the cleaning of answers, on the paper’s twelve data sets',
      by: ['tests/prompt/zero-shot-cot.test.ts', 'tests/prompt/answers.test.ts', 'tests/eval/harness.test.ts'],
    },
  },
  {
    number: 24,
    slug: 'palm',
    name: 'PaLM',
    files: ['models/palm.ts'],
    usable: {
      what: 'trained, saved, generated from, served, quantised; a cache of 2 · headDim numbers a layer and token',
      by: [SERVED, 'tests/models/palm.test.ts'],
    },
  },
  { number: 25, slug: 'palm-e', name: 'PaLM-E', files: ['models/palm-e.ts'] },
  { number: 26, slug: 'visual-chatgpt', name: 'Visual ChatGPT', files: ['agent/visual-chat.ts'] },
  {
    number: 27,
    slug: 'decanlp',
    name: 'decaNLP (MQAN)',
    files: ['models/mqan.ts'],
    usable: {
      what: 'trained, saved and loaded; answers to many questions at a time, each word with its pointers and switches',
      by: ['tests/generate/question-answerer.test.ts', 'tests/models/mqan.test.ts'],
    },
  },
  {
    number: 28,
    slug: 'resnet',
    name: 'ResNet',
    files: ['models/resnet.ts'],
    usable: { what: 'forward and grad on its checkpoints', by: ['tests/models/resnet.test.ts'] },
  },
  {
    number: 29,
    slug: 'flan-collection',
    name: 'Flan Collection',
    files: ['data/instruction/flan-collection.ts'],
    usable: {
      what: 'one mixture of collections by weights and caps: exemplars, options, inversions and rationales in their shares, of your own data sets or of files',
      by: ['tests/data/instruction/flan-collection.test.ts', 'tests/data/instruction/p3.test.ts'],
    },
  },
  { number: 30, slug: 'vit', name: 'ViT', files: ['models/vit.ts'] },
  { number: 31, slug: 'swin', name: 'Swin', files: ['models/swin.ts'] },
  { number: 32, slug: 'swin-v2', name: 'Swin V2', files: ['models/swin-v2.ts'] },
  {
    number: 33,
    slug: 'ddpm',
    name: 'DDPM',
    files: ['models/ddpm.ts', 'train/diffusion.ts', 'generate/samplers.ts'],
    usable: {
      what: 'forward and grad on its checkpoints; drawing with saved pipelines, and guided by a gradient, in ten lines',
      by: ['tests/generate/samplers.test.ts', 'tests/load/pipeline.test.ts', PARITY],
    },
  },
  { number: 34, slug: 'clip', name: 'CLIP', files: ['models/clip.ts'] },
  {
    number: 35,
    slug: 'clip-guided-diffusion',
    name: 'CLIP-guided diffusion',
    files: ['generate/guided-diffusion.ts'],
  },
  { number: 36, slug: 'unclip', name: 'DALL·E 2 (unCLIP)', files: ['models/unclip.ts'] },
  { number: 37, slug: 'latent-diffusion', name: 'Latent / Stable Diffusion', files: ['models/latent-diffusion.ts'] },
  {
    number: 38,
    slug: 'image-feedback',
    name: 'Aligning text-to-image by human feedback',
    files: ['train/image-feedback.ts'],
  },
  { number: 39, slug: 'controlnet', name: 'ControlNet, InstructPix2Pix', files: ['models/controlnet.ts'] },
]

/**
 * Beside the list, a file each: what people run today on the blocks of these papers. Their numbers go on behind it; they
 * have no recipe of their own.
 */
export const BESIDE: readonly Paper[] = [
  {
    number: 40,
    slug: 'mistral',
    name: 'Mistral',
    files: ['models/mistral.ts'],
    usable: {
      what: 'all that LLaMA does, from folders and GGUF; windows hold over the cache',
      by: [PARITY, 'tests/generate/cached.test.ts', 'tests/hub/gguf/models.test.ts'],
    },
  },
  {
    number: 41,
    slug: 'qwen2',
    name: 'Qwen2',
    files: ['models/qwen2.ts'],
    usable: {
      what: 'all that LLaMA does, from folders and GGUF',
      by: [PARITY, 'tests/generate/cached.test.ts', 'tests/hub/gguf/models.test.ts'],
    },
  },
  {
    number: 42,
    slug: 'qwen3',
    name: 'Qwen3',
    files: ['models/qwen3.ts'],
    usable: {
      what: 'all that LLaMA does, from folders and GGUF',
      by: [PARITY, 'tests/generate/cached.test.ts', 'tests/hub/gguf/models.test.ts'],
    },
  },
  {
    number: 43,
    slug: 'gemma3',
    name: 'Gemma 3',
    files: ['models/gemma3.ts'],
    usable: {
      what: 'all that LLaMA does with text, from folders and GGUF, in 4 bits and deterministically too',
      by: [PARITY, 'tests/generate/deterministic.test.ts', 'tests/hub/gguf/models.test.ts'],
    },
  },
  {
    number: 44,
    slug: 'dpo',
    name: 'DPO',
    files: ['train/dpo.ts'],
    usable: {
      what: '`jackdaw train dpo` on preferences of your own, with LoRA too',
      by: ['tests/train/dpo.test.ts', 'tests/recipes/instructgpt.test.ts'],
    },
  },
  {
    number: 45,
    slug: 'grpo',
    name: 'GRPO',
    files: ['train/grpo.ts'],
    usable: {
      what: '`jackdaw train grpo` against a reward model or a rule, with LoRA too',
      by: ['tests/train/grpo.test.ts', 'tests/recipes/instructgpt.test.ts'],
    },
  },
]

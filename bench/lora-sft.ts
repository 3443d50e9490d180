/** A LoRA fine-tuning step: the same of jackdaw and of its peers, which are told it as JSON. */
export const LORA_SFT = { batch: 4, seq: 256, rank: 16, alpha: 32 }

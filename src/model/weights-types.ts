// The interface that every weight format is read through.

/**
 * Tensors of one Whisper checkpoint, by their Hugging Face names without the `model.` prefix
 * (`encoder.conv1.weight`, `decoder.layers.0.encoder_attn.k_proj.weight` …), row-major.
 *
 * Linear weights are `[out, in]`, convolutions `[out, in, kernel]`, norms and biases `[size]`. There is no bias of
 * `k_proj` (Whisper has none) and no `proj_out.weight`: the output projection is `decoder.embed_tokens.weight`.
 */
export interface Weights {
  /** Sorted. */
  readonly names: readonly string[];
  /** Attention heads where the file itself says it (CTranslate2), else undefined. */
  readonly heads: number | undefined;
  has(name: string): boolean;
  /** Throws `model_corrupt` for a name that is not there. */
  shape(name: string): readonly number[];
  /** A new array of float32, the caller's own; float16, bfloat16 and scaled int8/int16 are converted. */
  read(name: string): Float32Array;
  /** Idempotent; reads fail after it. */
  close(): void;
}

// The bytes of each text token, packed into two arrays: a garbage collector has nothing to look at in them.

import type { TokenizerFile } from './special-tokens.ts';

export interface ByteTable {
  /** Tokens must be below the number the table was made for. U+FFFD stands where the bytes are not valid UTF-8. */
  decode(tokens: readonly number[]): string;
}

/** @param count tokens with lower ids are text */
export function createByteTable({ model }: TokenizerFile, count: number): ByteTable {
  const byteOf = byteAlphabet();
  const offsets = new Uint32Array(count + 1);
  for (const [piece, id] of Object.entries(model.vocab)) if (id < count) offsets[id + 1] = piece.length;
  for (let id = 0; id < count; id++) offsets[id + 1] = (offsets[id + 1] as number) + (offsets[id] as number);
  const bytes = new Uint8Array(offsets[count] as number);
  for (const [piece, id] of Object.entries(model.vocab)) {
    if (id >= count) continue;
    for (let i = 0; i < piece.length; i++) {
      const byte = byteOf.get(piece.charCodeAt(i));
      if (byte === undefined) throw new Error(`token ${id} has a character that stands for no byte`);
      bytes[(offsets[id] as number) + i] = byte;
    }
  }
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return {
    decode(tokens) {
      const pieces = tokens.map((token) => bytes.subarray(offsets[token], offsets[token + 1]));
      return decoder.decode(Buffer.concat(pieces));
    },
  };
}

/** Which character stands for which byte in a vocabulary (`gpt-2/src/encoder.py` bytes_to_unicode): all are visible, and one UTF-16 unit. */
function byteAlphabet(): Map<number, number> {
  const byteOf = new Map<number, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const isVisible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    byteOf.set(isVisible ? byte : next++, byte);
  }
  return byteOf;
}

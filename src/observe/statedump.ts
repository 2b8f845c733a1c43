/**
 * The state dump: one text file that shows what the process is doing. Sections `[name]` with
 * `key=value` lines, as the tools that read stock's dumps expect them.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { clock } from '../core/clock.ts'
import type { CallPool } from '../core/frame.ts'
import type { Gfid } from '../core/gfid.ts'
import { parseBool } from '../core/options.ts'
import type { GraphContext, Xlator } from '../core/xlator.ts'
import { dumpCallPool } from './callpool.ts'
import type { DumpSink } from './dump.ts'
import { countContexts, dumpItable, type TableLimits } from './itable.ts'
import { dumpLatency } from './latency.ts'
import { stampText } from './log-format.ts'
import { dumpBuffers, dumpGlobalUsage, dumpMallinfo, dumpPools, dumpUsage } from './memory.ts'
import { TextSink } from './text-sink.ts'

export const STATEDUMP_DIRECTORY = '/var/run/gluster'

/** The FUSE bridge, as far as a dump shows it. */
export interface DumpedBridge extends Xlator {
  readonly tableLimits: TableLimits
  dumpFiles(sink: DumpSink): void
}

export interface DumpInput {
  readonly pool: CallPool
  readonly root: DumpedBridge | undefined
  readonly graph: GraphContext | undefined
  /** Graphs that still end. */
  readonly oldGraphs?: readonly GraphContext[]
}

/** Which sections are wanted; latencies, memory of translators and `dict` always are. */
export interface DumpChoice {
  directory: string
  mem: boolean
  iobuf: boolean
  callpool: boolean
  priv: boolean
  inode: boolean
  inodectx: boolean
  fd: boolean
  fdctx: boolean
}

type Part = Exclude<keyof DumpChoice, 'directory'>
const PARTS: readonly Part[] = [
  'mem',
  'iobuf',
  'callpool',
  'priv',
  'inode',
  'inodectx',
  'fd',
  'fdctx',
]
/** What a file that switches nothing on leaves. */
const PARTS_BY_DEFAULT: ReadonlySet<Part> = new Set(['mem', 'callpool'])

function choiceOf(directory: string, wants: (part: Part) => boolean): DumpChoice {
  const choice: Partial<DumpChoice> = { directory }
  for (const part of PARTS) choice[part] = wants(part)
  return choice as DumpChoice
}

const EVERYTHING = choiceOf(STATEDUMP_DIRECTORY, () => true)

/**
 * Writes `glusterdump.PID.dump.SECONDS` (mode 0600) into the dump directory: first under another
 * name, so that a reader never sees half of it. Returns its path; rejects with the system error.
 */
export async function writeStatedump(input: DumpInput): Promise<string> {
  const choice = await readChoice()
  const { sec } = clock.realtime()
  const path = `${choice.directory}/glusterdump.${process.pid}.dump.${sec}`
  const temporary = `${path}.${randomBytes(4).toString('hex')}`
  if (choice.directory === STATEDUMP_DIRECTORY) await mkdir(choice.directory, { recursive: true })
  try {
    await writeFile(temporary, statedumpText(input, choice), {
      mode: 0o600,
      flag: 'wx',
      encoding: 'latin1',
    })
    await rename(temporary, path)
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw error
  }
  return path
}

/** The process's own options come before everybody's. */
async function readChoice(): Promise<DumpChoice> {
  const names = [`glusterdump.${process.pid}.options`, 'glusterdump.options']
  for (const name of names) {
    const text = await readFile(`${STATEDUMP_DIRECTORY}/${name}`, 'latin1').catch(() => undefined)
    if (text !== undefined) return parseChoice(text)
  }
  return EVERYTHING
}

/**
 * Lines `key=yes`: only what they name is dumped, `all` for everything. A file that switches
 * nothing on leaves memory and calls. `path=DIR`, which must exist, is another place.
 */
export function parseChoice(text: string): DumpChoice {
  const settings = new Map<string, string>()
  for (const line of text.split('\n')) {
    const equals = line.indexOf('=')
    if (equals > 0) settings.set(line.slice(0, equals).trim(), line.slice(equals + 1).trim())
  }
  const path = settings.get('path')
  const directory = path?.startsWith('/') ? path : STATEDUMP_DIRECTORY
  const on = (key: string): boolean => parseBool(settings.get(key) ?? '') === true
  if (on('all')) return choiceOf(directory, () => true)
  if (!PARTS.some(on)) return choiceOf(directory, (part) => PARTS_BY_DEFAULT.has(part))
  return choiceOf(directory, on)
}

/** The whole dump, latin1. */
export function statedumpText(input: DumpInput, choice: DumpChoice = EVERYTHING): string {
  const { pool, root, graph } = input
  const sink = new TextSink()
  const begin = timeText()
  const table = root?.graph.inodes ?? graph?.inodes
  if (choice.mem) {
    dumpMallinfo(sink)
    dumpGlobalUsage(sink)
    let frames = 0
    for (const stack of pool.stacks()) frames += stack.frameCount
    if (table !== undefined) dumpPools(table, pool.count, frames, sink)
  }
  if (choice.iobuf) dumpBuffers(sink)
  if (choice.callpool) dumpCallPool(sink, pool)
  dumpDicts(sink)
  const counts = table === undefined ? undefined : countContexts(table)
  if (root !== undefined) {
    sink.section(root.name)
    dumpXlator(sink, root, choice, counts)
    if (choice.fd) root.dumpFiles(sink)
    if (choice.inode) {
      const xlators = [...(graph?.xlators ?? []), root].filter(
        (xl) => xl.dumpInode !== undefined || xl.dumpFd !== undefined,
      )
      const metaPaths = root.graph.process.observed?.metaPaths
      const isVirtual = (gfid: Gfid): boolean => metaPaths?.has(gfid) === true
      const { tableLimits: limits } = root
      dumpItable({ table: root.graph.inodes, limits, choice, xlators, isVirtual }, sink)
    }
  }
  const dumpGraph = (shown: GraphContext): void => {
    for (const xl of shown.xlators.toReversed()) dumpXlator(sink, xl, choice, counts)
  }
  if (graph !== undefined) {
    // Stock counts graphs from 1 here.
    sink.section(`active graph - ${graph.id + 1}`)
    dumpGraph(graph)
  }
  for (const [index, old] of (input.oldGraphs ?? []).entries()) {
    sink.section(`oldgraph[${index}]`)
    sink.pair('graph', old.id + 1)
    dumpGraph(old)
  }
  return `DUMP-START-TIME: ${begin}\n\n${sink.text}\nDUMP-END-TIME: ${timeText()}`
}

function timeText(): string {
  const { sec, nsec } = clock.realtime()
  return stampText(sec, Math.floor(nsec / 1000), false)
}

/** Dictionaries are not counted. */
function dumpDicts(sink: DumpSink): void {
  sink.section('dict')
  sink.pair('max-pairs-per-dict', 0)
  sink.pair('total-pairs-used', 0)
  sink.pair('total-dicts-used', 0)
  sink.pair('average-pairs-per-dict', 0)
}

function dumpXlator(
  sink: DumpSink,
  xl: Xlator,
  choice: DumpChoice,
  counts: ReturnType<typeof countContexts> | undefined,
): void {
  dumpLatency(xl, sink)
  dumpUsage(xl, sink, counts)
  if (choice.priv) dumpPrivate(xl, sink)
}

/** A bug in one translator must not hide what the others show. */
export function dumpPrivate(xl: Xlator, sink: DumpSink): void {
  try {
    xl.dump?.(sink)
  } catch (error) {
    sink.pair('dump-error', String(error))
  }
}

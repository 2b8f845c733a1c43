/**
 * The state dump: one text file that shows what the process is doing. Sections `[name]` with
 * `key=value` lines, as the tools that read stock's dumps expect them.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { clock } from '../core/clock.ts'
import type { CallPool, Frame, Stack } from '../core/frame.ts'
import { parseBool } from '../core/options.ts'
import type { Xlator } from '../core/xlator.ts'
import type { Graph } from '../graph/build.ts'
import type { DumpSink } from './dump.ts'
import { stampText } from './log-format.ts'

export const STATEDUMP_DIRECTORY = '/var/run/gluster'

/** Calls listed one by one; beyond that only the count tells of them. */
const STACKS_SHOWN_MAX = 1024

export interface DumpInput {
  readonly pool: CallPool
  /** The FUSE bridge. */
  readonly root: Xlator | undefined
  readonly graph: Graph | undefined
}

/** Which sections are wanted; `glusterdump.options` in the dump directory switches them off. */
interface DumpChoice {
  directory: string
  callpool: boolean
  priv: boolean
}

/** Collects `key=value` lines (or with another separator, for `.meta`). */
export class TextSink implements DumpSink {
  readonly #separator: string
  #text = ''

  constructor(separator = '=') {
    this.#separator = separator
  }

  section(name: string): void {
    this.#text += this.#text === '' ? `[${name}]\n` : `\n[${name}]\n`
  }

  pair(key: string, value: string | number | bigint | boolean): void {
    const shown = typeof value === 'boolean' ? Number(value) : value
    this.#text += `${key}${this.#separator}${shown}\n`
  }

  get text(): string {
    return this.#text
  }
}

/**
 * Writes `glusterdump.PID.dump.SECONDS` (mode 0600) into the dump directory: first under another
 * name, so that a reader never sees half of it. Returns its path; rejects with the system error.
 */
export async function writeStatedump(input: DumpInput): Promise<string> {
  const choice = await readChoice()
  const { sec } = clock.realtime()
  const path = `${choice.directory}/glusterdump.${process.pid}.dump.${sec}`
  const temporary = `${path}.${randomBytes(4).toString('hex')}`
  await mkdir(choice.directory, { recursive: true })
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

const EVERYTHING: DumpChoice = { directory: STATEDUMP_DIRECTORY, callpool: true, priv: true }

async function readChoice(): Promise<DumpChoice> {
  const names = [`glusterdump.${process.pid}.options`, 'glusterdump.options']
  for (const name of names) {
    const text = await readFile(`${STATEDUMP_DIRECTORY}/${name}`, 'latin1').catch(() => undefined)
    if (text !== undefined) return parseChoice(text)
  }
  return EVERYTHING
}

/** Lines `key=value`; what a file does not name is left out, unless it says `all=yes`. */
export function parseChoice(text: string): DumpChoice {
  const settings = new Map<string, string>()
  for (const line of text.split('\n')) {
    const equals = line.indexOf('=')
    if (equals > 0) settings.set(line.slice(0, equals).trim(), line.slice(equals + 1).trim())
  }
  const directory = settings.get('path')
  const onlyPath = settings.size === 1 && directory !== undefined
  const wants = (key: string): boolean =>
    onlyPath ||
    parseBool(settings.get('all') ?? '') === true ||
    parseBool(settings.get(key) ?? '') === true
  return {
    directory: directory?.startsWith('/') ? directory : STATEDUMP_DIRECTORY,
    callpool: wants('callpool'),
    priv: wants('priv'),
  }
}

/** The whole dump, latin1. */
export function statedumpText(input: DumpInput, choice: DumpChoice = EVERYTHING): string {
  const sink = new TextSink()
  const begin = timeText()
  dumpMemory(sink)
  if (choice.callpool) dumpCallPool(sink, input.pool)
  if (input.root !== undefined) dumpXlator(sink, input.root, choice)
  if (input.graph !== undefined) {
    sink.section(`active graph - ${input.graph.id}`)
    for (const xl of input.graph.xlators.toReversed()) dumpXlator(sink, xl, choice)
  }
  return `DUMP-START-TIME: ${begin}\n\n${sink.text}\nDUMP-END-TIME: ${timeText()}`
}

function timeText(): string {
  const { sec, nsec } = clock.realtime()
  return stampText(sec, Math.floor(nsec / 1000), false)
}

function dumpMemory(sink: DumpSink): void {
  const usage = process.memoryUsage()
  sink.section('memory')
  sink.pair('rss', usage.rss)
  sink.pair('heap_total', usage.heapTotal)
  sink.pair('heap_used', usage.heapUsed)
  sink.pair('external', usage.external)
  sink.pair('array_buffers', usage.arrayBuffers)
}

function dumpXlator(sink: DumpSink, xl: Xlator, choice: DumpChoice): void {
  sink.section(`${xl.name}.latency`)
  for (const [fop, stats] of xl.stats) {
    if (stats.count === 0) continue
    const [total, min, max] = [stats.total, stats.min, stats.max].map((ms) => Math.round(ms * 1e6))
    const average = (total! / stats.count).toFixed(6)
    sink.pair(
      `${xl.name}.latency.${fop.toUpperCase()}`,
      `AVG:${average} CNT:${stats.count} TOTAL:${total} MIN:${min} MAX:${max}`,
    )
  }
  if (!choice.priv || xl.dump === undefined) return
  try {
    xl.dump(sink)
  } catch (error) {
    // A bug in one translator must not hide what the others show.
    sink.pair('dump-error', String(error).replaceAll('\n', ' '))
  }
}

function dumpCallPool(sink: DumpSink, pool: CallPool): void {
  sink.section('global.callpool')
  sink.pair('callpool.cnt', pool.count)
  sink.pair('callpool.total', pool.total)
  let number = 0
  for (const stack of pool.stacks()) {
    if (++number > STACKS_SHOWN_MAX) break
    dumpStack(sink, stack, number)
  }
}

/** The credentials are the first frame's; a frame may act for somebody else further down. */
function dumpStack(sink: DumpSink, stack: Stack, number: number): void {
  const frames = stack.frames()
  const creds = frames[0]?.creds
  const now = clock.now()
  sink.section(`global.callpool.stack.${number}`)
  sink.pair('stack', stack.unique)
  sink.pair('uid', creds?.uid ?? 0)
  sink.pair('gid', creds?.gid ?? 0)
  sink.pair('pid', creds?.pid ?? 0)
  sink.pair('unique', stack.unique)
  sink.pair('lk-owner', creds?.lkOwner.toString('hex') ?? '')
  sink.pair('age', ((now - stack.begin) / 1000).toFixed(6))
  sink.pair('op', stack.type)
  sink.pair('type', 1)
  sink.pair('cnt', frames.length)
  // Newest first, as stock lists them: where it waits comes first.
  const newestFirst = frames.reverse()
  for (const [index, frame] of newestFirst.entries()) {
    sink.section(`global.callpool.stack.${number}.frame.${index + 1}`)
    dumpFrame(sink, frame)
  }
}

function dumpFrame(sink: DumpSink, frame: Frame): void {
  const { parent, fop } = frame
  sink.pair('translator', frame.xl.name)
  sink.pair('complete', frame.complete)
  if (parent !== undefined) {
    sink.pair('parent', parent.xl.name)
    sink.pair('wind_from', `${parent.xl.name}.${parent.fop ?? 'request'}`)
    sink.pair('wind_to', `${frame.xl.name}.${fop ?? 'request'}`)
    sink.pair('unwind_to', `${parent.xl.name}.${parent.fop ?? 'request'}`)
  }
  if (frame.local !== undefined) sink.pair('local', String(frame.local))
}

/**
 * Writers that go on until the mount fails, and note in LOG what they did.
 *
 * `slot-writer.js slots FILE LOG SEED FIRST`: FILE consists of slots, each written by single writes
 * of one generation, from FIRST on. What a reader finds must be, slot for slot, the last write that
 * ended or one under way.
 *
 * `slot-writer.js stream FILE LOG SEED`: appends pieces of an endless stream. A reader must find
 * its beginning, up to the last sync or further.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { seeded } from './seeded.ts'
import * as sys from './syscalls.ts'

/** Slot sizes: most smaller than a stripe, some larger than several. */
const SIZES = [50, 700, 3000, 30_000]
const SLOTS = 40

export interface Slot {
  readonly offset: number
  readonly size: number
}

/** The slots of the file made from `seed`. */
export function slotsOf(seed: number): Slot[] {
  const random = seeded(seed)
  let offset = 0
  return Array.from({ length: SLOTS }, () => {
    const size = 1 + Math.floor(random() * SIZES[Math.floor(random() * SIZES.length)]!)
    const slot = { offset, size }
    offset += size
    return slot
  })
}

/** What a slot holds in its `generation`th writing; 0 is how the file begins. */
export function slotContent(seed: number, slot: number, size: number, generation: number): Buffer {
  const bytes = Buffer.allocUnsafe(size)
  let state = Math.imul(seed, 31) + Math.imul(slot, 1009) + Math.imul(generation, 2654435761)
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    bytes[i] = state >>> 24
  }
  return bytes
}

export const initialContent = (seed: number): Buffer =>
  Buffer.concat(slotsOf(seed).map(({ size }, slot) => slotContent(seed, slot, size, 0)))

/** Starts a writer; its end, when the mount has gone, is for `ended`. */
export function startWriter(
  kind: 'slots' | 'stream',
  file: string,
  log: string,
  seed: number,
  first = 0,
): ChildProcess {
  const words = [fileURLToPath(import.meta.url), kind, file, log, String(seed), String(first)]
  return spawn(process.execPath, words, { stdio: ['ignore', 'inherit', 'inherit'] })
}

export interface Written {
  /** Generations each slot may have: the last complete one, and one that was under way. */
  readonly allowed: number[][]
  /** Writes that ended well. */
  readonly complete: number
  /** Greatest generation used. */
  readonly last: number
}

/** What the log of a writer says; `before`: what slots might have when it started. */
export function readLog(log: string, before: readonly (readonly number[])[]): Written {
  const allowed = before.map((generations) => [...generations])
  let [complete, last] = [0, 0]
  for (const line of readFileSync(log, 'latin1').split('\n')) {
    const [what, slot, generation] = line.split(' ')
    if (what === 'begin') allowed[Number(slot)]!.push(Number(generation))
    else if (what === 'end') {
      allowed[Number(slot)] = [Number(generation)]
      complete++
    } else continue
    last = Number(generation)
  }
  return { allowed, complete, last }
}

/** Overwrites until a write fails. */
function write(file: string, log: string, seed: number, first: number): void {
  const slots = slotsOf(seed)
  const random = seeded(seed + first)
  const notes = openSync(log, 'w')
  const fd = sys.open(file, sys.O.O_WRONLY)
  if (fd < 0) return
  for (let generation = first; ; generation++) {
    const slot = Math.floor(random() * slots.length)
    const { offset, size } = slots[slot]!
    const data = slotContent(seed, slot, size, generation)
    writeSync(notes, `begin ${slot} ${generation}\n`)
    if (sys.pwrite(fd, data, offset) !== size) break
    writeSync(notes, `end ${slot} ${generation}\n`)
  }
  closeSync(notes)
}

/** The stream's bytes from `from` to `to`. */
export function streamPart(from: number, to: number): Buffer {
  const bytes = Buffer.allocUnsafe(to - from)
  for (let at = from; at < to; at++) bytes[at - from] = Math.imul(at, 2654435761) >>> 24
  return bytes
}

/** How much of the stream was synced for sure, and how much may be there. */
export function readStreamLog(log: string): { synced: number; begun: number } {
  const lines = readFileSync(log, 'latin1').split('\n')
  const last = (what: string): number =>
    Number(lines.findLast((line) => line.startsWith(`${what} `))?.split(' ')[1] ?? 0)
  return { synced: last('synced'), begun: last('begin') }
}

const STREAM_PIECE_MAX = 5000
const SYNC_EVERY = 8

function append(file: string, log: string, seed: number): void {
  const random = seeded(seed)
  const notes = openSync(log, 'w')
  const fd = sys.open(file, sys.O.O_WRONLY | sys.O.O_APPEND)
  if (fd < 0) return
  const stat = sys.fstat(fd)
  if (typeof stat === 'number') return
  let at = stat.size
  // what was there is there to stay
  writeSync(notes, `synced ${at}\n`)
  for (let i = 1; ; i++) {
    const data = streamPart(at, at + 1 + Math.floor(random() * STREAM_PIECE_MAX))
    writeSync(notes, `begin ${at + data.length}\n`)
    if (sys.write(fd, data) !== data.length) break
    at += data.length
    if (i % SYNC_EVERY !== 0) continue
    if (sys.fsync(fd) !== 0) break
    writeSync(notes, `synced ${at}\n`)
  }
  closeSync(notes)
}

const [, program, kind, ...words] = process.argv
if (program === fileURLToPath(import.meta.url)) {
  if (kind === 'slots') write(words[0]!, words[1]!, Number(words[2]), Number(words[3]))
  else append(words[0]!, words[1]!, Number(words[2]))
}

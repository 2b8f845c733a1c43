/**
 * Bricks of a replicated volume die and come back, one after the other, while our client and the
 * stock one work on it. Calls fail whenever too few bricks are there. What must hold: reads give
 * what was written, in the end all that was acknowledged is there, no file is in split-brain, and
 * heal makes all copies equal.
 *
 * Stock clients alone lose acknowledged writes in such runs now and then (`stock,stock`). Files only
 * a stock client and the stock self-heal daemon touch are therefore judged apart: each client has
 * files of its own, and our client neither opens, blames nor heals another's (its log would tell).
 * The directory in which both make files is everybody's: a name missing there counts.
 */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { clock } from '../../src/core/clock.ts'
import { BlameTrace } from './blame-trace.ts'
import { UNCACHED, uncached } from './edit-proof.ts'
import {
  DIRECTORY,
  type FlapResult,
  madeContent,
  madeNumber,
  slotFile,
  slotSeed,
  startFlapLoad,
} from './flap-load.ts'
import { equalBricks } from './replicate-bricks.ts'
import { createReplicated, parseReplicateShape, ReplicateVolume } from './replicate-volume.ts'
import { type ClientKind, gluster, type Mount, sleep } from './sandbox.ts'
import { seeded } from './seeded.ts'
import { slotContent, slotsOf } from './slot-writer.ts'

const FLAP_MS = 2000
/** A brick stays away this long at most. */
const AWAY_MAX_MS = 1000
const HEAL_ROUNDS_MAX = 60
/** Clients connect again to bricks that came back. */
const BACK_MS = 5000

interface ClientSummary extends Pick<FlapResult, 'operations' | 'errors' | 'problems'> {
  /** Names that were made, and those of them that were removed. */
  made: number
  removed: number
  /** Those of `removed` that came back with a heal that could not know (a merge). */
  resurrected: number
}

export interface FlapSummary {
  flaps: number
  /** By client: operations, failures by call and errno, and what it read that it should not. */
  clients: Record<string, ClientSummary>
  healSeconds: number
  /** What must not be. */
  problems: string[]
  /** The same of files that only stock clients touch. */
  stockProblems: string[]
}

/** Whose problem it is: a client's whose own files are concerned, or everybody's. */
type Note = (tag: string | undefined, text: string) => void

export async function proveFlapping(
  shape: string,
  seconds: number,
  seed: number,
  clients: readonly ClientKind[],
): Promise<FlapSummary> {
  const parsed = parseReplicateShape(shape)
  const set = { ...uncached, 'performance.write-behind': 'off' }
  const volume = await createReplicated(`f${shape}`, parsed, set)
  const target = new ReplicateVolume(parsed, volume)
  const mounts = await Promise.all(clients.map((kind) => volume.mount(kind, UNCACHED)))
  const tags = clients.map((kind, i) => (clients.indexOf(kind) === i ? kind : `${kind}${i}`))
  mkdirSync(join(mounts[0]!.dir, DIRECTORY))
  const loads = mounts.map(({ dir }, i) => startFlapLoad(dir, tags[i]!, seed + i, seconds))
  await Promise.all(loads.map(({ ready }) => ready))
  const trace = new BlameTrace(volume.bricks, /^(slots-|made)/)
  const summary: FlapSummary = {
    flaps: await flap(target, seconds - FLAP_MS / 1000, seed, trace),
    clients: {},
    healSeconds: 0,
    problems: [],
    stockProblems: [],
  }
  const note: Note = (tag, text) =>
    void (tag?.startsWith('stock') ? summary.stockProblems : summary.problems).push(text)
  const results = await Promise.all(loads.map(({ done }) => done))
  for (const [i, { operations, errors, problems, made }] of results.entries()) {
    const fates = Object.values(made)
    const removed = fates.filter((fate) => fate === 'gone').length
    const counts = { made: fates.length, removed, resurrected: 0 }
    summary.clients[tags[i]!] = { operations, errors, problems, ...counts }
    for (const text of problems) note(ownerOf(text), text)
  }
  await sleep(BACK_MS)
  const began = clock.now()
  const damaged = await converge(target, note)
  summary.healSeconds = Math.round((clock.now() - began) / 1000)
  await trace.end()
  await check(target, mounts, tags, results, seed, { summary, damaged, note })
  for (const mount of mounts) if (mount.kind === 'ours') checkLog(mount, note)
  const told = [...summary.problems, ...summary.stockProblems].join()
  for (const name of trace.names) {
    if (!trace.split.has(name) && !told.includes(name)) continue
    console.error(`${name} on the bricks:\n${trace.of(name)}`)
  }
  for (const mount of mounts) await mount.unmount()
  await volume.destroy()
  return summary
}

/** Kills and restarts bricks at random; how many times. */
async function flap(
  { volume }: ReplicateVolume,
  seconds: number,
  seed: number,
  trace: BlameTrace,
): Promise<number> {
  const random = seeded(seed)
  const end = clock.now() + seconds * 1000
  let flaps = 0
  while (clock.now() < end) {
    const next = clock.now() + FLAP_MS
    const brick = Math.floor(random() * volume.bricks.length)
    await volume.killBrick(brick)
    trace.note(`killed brick ${brick}`)
    await sleep(random() * AWAY_MAX_MS)
    await volume.restartBrick(brick)
    trace.note(`started brick ${brick}`)
    flaps++
    await sleep(Math.max(0, next - clock.now()))
  }
  return flaps
}

/** The client that made the file `text` begins with or has a path of; none for what all use. */
const ownerOf = (text: string): string | undefined =>
  /(?:^|\/)(?:slots|r*n)-(\w+)-\d+/.exec(text)?.[1]

/** Heals until nothing is left but split-brains; those. */
async function converge({ volume }: ReplicateVolume, note: Note): Promise<Set<string>> {
  let left: string[] = []
  for (let i = 0; i < HEAL_ROUNDS_MAX; i++) {
    await gluster('volume', 'heal', volume.name).catch(() => {})
    await sleep(2000)
    const info = await gluster('volume', 'heal', volume.name, 'info')
    left = info.split('\n').filter((line) => /^[/<]/.test(line) && !line.startsWith('<html'))
    const isKnown = !/entries: -/.test(info)
    if (isKnown && left.every((line) => line.endsWith('Is in split-brain'))) break
  }
  const entries = new Set(left)
  for (const entry of entries) note(ownerOf(entry), `not healed: ${entry}`)
  return new Set([...entries].map((entry) => entry.split(' - ')[0]!.replace(/^\//, '')))
}

/** A client of ours leaves other clients' slot files alone. */
function checkLog(mount: Mount, note: Note): void {
  for (const line of readFileSync(mount.log, 'latin1').split('\n')) {
    if (/heal/.test(line) && (ownerOf(line) ?? 'ours').startsWith('stock')) {
      note(undefined, `our client heals another's file: ${line}`)
    }
  }
}

/** All is healed: what is there? */
async function check(
  target: ReplicateVolume,
  mounts: readonly Mount[],
  tags: readonly string[],
  results: readonly FlapResult[],
  seed: number,
  { summary, damaged, note }: { summary: FlapSummary; damaged: Set<string>; note: Note },
): Promise<void> {
  const { volume, shape } = target
  const names: string[] = []
  for (const [i, result] of results.entries()) {
    const tag = tags[i]!
    const resurrected = new Set<string>()
    for (const { dir, kind } of mounts) {
      const found = checkResult(dir, tag, seed + i, result, (text, owner) =>
        note(owner, `${tag}'s files through ${kind}: ${text}`),
      )
      for (const name of found) resurrected.add(name)
    }
    summary.clients[tag]!.resurrected = resurrected.size
    names.push(...result.allowed.map((_, index) => slotFile(tag, index)))
  }
  await target.settled(names)
  for (const name of names) {
    if (damaged.has(name)) continue
    try {
      const content = readFileSync(join(mounts[0]!.dir, name))
      await target.checkFiles([{ name, content }])
    } catch (error) {
      note(ownerOf(name), `bricks: ${name}: ${(error as Error).stack}`)
    }
  }
  if (shape.sets > 1) return
  try {
    equalBricks(volume, shape.arbiter, damaged)
  } catch (error) {
    note(undefined, `bricks: ${(error as Error).stack}`)
  }
}

/** One client's files through one mount; files that should be gone and are there come back. */
function checkResult(
  dir: string,
  tag: string,
  seed: number,
  { allowed, made }: FlapResult,
  note: (text: string, owner: string | undefined) => void,
): string[] {
  const read = (name: string): Buffer | undefined => {
    try {
      return readFileSync(join(dir, name))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        note(`${name}: ${String(error)}`, tag)
      }
      return undefined
    }
  }
  for (const [index, slots] of allowed.entries()) {
    const own = slotSeed(seed, index)
    const content = read(slotFile(tag, index)) ?? Buffer.alloc(0)
    for (const [slot, { offset, size }] of slotsOf(own).entries()) {
      const found = content.subarray(offset, offset + size)
      if (slots[slot]!.some((one) => found.equals(slotContent(own, slot, size, one)))) continue
      note(`${slotFile(tag, index)}: slot ${slot} is none of ${slots[slot]}`, tag)
    }
  }
  const resurrected: string[] = []
  for (const [name, fate] of Object.entries(made)) {
    const content = read(join(DIRECTORY, name))
    if (fate === 'gone' && content !== undefined) resurrected.push(name)
    if (fate !== 'there') continue
    // All clients change the directory.
    if (content === undefined) note(`${name} is not there`, undefined)
    else if (!content.equals(madeContent(seed, madeNumber(name))))
      note(`${name}: other content`, tag)
  }
  return resurrected
}

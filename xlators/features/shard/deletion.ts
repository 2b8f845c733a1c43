/**
 * Deletes the blocks of files that are gone, as the markers in `.shard/.remove_me` name them. A
 * file that is still open somewhere keeps its blocks, and is looked at again later. Nothing is
 * deleted unless every brick that could know says that the file does not exist.
 */
import { clock, type Timer } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, errnoName } from '../../../src/core/errno.ts'
import { ENTRYLK_LOCK_NB, ENTRYLK_UNLOCK, ENTRYLK_WRLCK } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { type Gfid, parseGfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Shard } from './index.ts'
import { asking, blockSizeOf, fileSizeOf, UNLINKED_LOOKUP_KEY } from './keys.ts'
import { eachOf } from './pieces.ts'

/** Between looks at what could not be deleted: twice as long each time. */
const AGAIN_MS = 2000
const AGAIN_MAX_MS = 600_000
/** Entries one run looks at. */
const MARKERS_MAX = 65_536

export class Deletion {
  readonly #shard: Shard
  #running = false
  #again = false
  #ended = false
  #timer: Timer | undefined
  /** Markers left over by the last run, and when they are looked at again. */
  #left = 0
  #delayMs = AGAIN_MS

  constructor(shard: Shard) {
    this.#shard = shard
  }

  get state(): string {
    return this.#running ? 'in progress' : 'idle'
  }

  /** Looks at the markers; once more where it is at it already. */
  start(): void {
    this.#delayMs = AGAIN_MS
    this.#begin()
  }

  #begin(): void {
    if (this.#ended) return
    this.#again = true
    if (this.#running) return
    this.#running = true
    this.#timer?.clear()
    const { graph } = this.#shard
    void graph.pool
      .background(this.#shard, 'deletion of shards', this.#shard.ownedCreds(ROOT_CREDS), (frame) =>
        this.#run(frame),
      )
      .then(() => {
        this.#running = false
        if (this.#left > 0 && !this.#ended) {
          this.#timer = clock.after(this.#delayMs, () => this.#begin(), true)
          this.#delayMs = Math.min(2 * this.#delayMs, AGAIN_MAX_MS)
        }
      })
  }

  end(): void {
    this.#ended = true
    this.#timer?.clear()
  }

  async #run(frame: Frame): Promise<void> {
    while (this.#again && !this.#ended) {
      this.#again = false
      this.#left = 0
      const dir = await this.#shard.blocks.removeDir(frame, false)
      if (dir.errno !== 0) return
      const names: string[] = []
      await this.#shard.blocks.list(frame, dir.value, (name) => {
        if (names.length < MARKERS_MAX) names.push(name)
      })
      for (const name of names) {
        if (this.#ended) return
        const gfid = parseGfid(name)
        if (gfid === undefined) continue
        if (!(await this.#deleteFile(frame, dir.value, name, gfid))) this.#left++
      }
    }
  }

  /** False: something of it stays, for now. */
  async #deleteFile(frame: Frame, dir: Inode, name: string, gfid: Gfid): Promise<boolean> {
    const shard = this.#shard
    if (await this.#exists(frame, gfid)) return false
    const entry = { loc: Loc.ofInode(dir), volume: shard.name, basename: name, type: ENTRYLK_WRLCK }
    const locked = await frame.wind(shard.child, 'entrylk', { ...entry, cmd: ENTRYLK_LOCK_NB })
    // Another client is at it.
    if (locked.errno !== 0) return false
    try {
      if (await this.#exists(frame, gfid)) return false
      return await this.#deleteBlocks(frame, dir, name, gfid)
    } finally {
      await frame.wind(shard.child, 'entrylk', { ...entry, cmd: ENTRYLK_UNLOCK })
    }
  }

  /** Or may: a brick that is down cannot tell. */
  async #exists(frame: Frame, gfid: Gfid): Promise<boolean> {
    const loc = new Loc(this.#shard.graph.inodes.newInode(), undefined, undefined, gfid)
    const xdata = new Dict().setUint(UNLINKED_LOOKUP_KEY, 1)
    const rep = await frame.wind(this.#shard.child, 'lookup', { loc, xdata })
    return rep.errno !== E.NOENT && rep.errno !== E.STALE
  }

  async #deleteBlocks(frame: Frame, dir: Inode, name: string, gfid: Gfid): Promise<boolean> {
    const { child, graph, blocks, options, log } = this.#shard
    const { inodes } = graph
    const loc = Loc.ofName(dir, name, inodes.newInode())
    const rep = await frame.wind(child, 'lookup', { loc, xdata: asking(undefined) })
    if (rep.errno !== 0) return rep.errno === E.NOENT
    const blockSize = blockSizeOf(rep.xdata)
    const size = fileSizeOf(rep.xdata)?.size
    if (blockSize === 0 || size === undefined) {
      log.warn(`.remove_me/${name} does not tell the size of its file; its blocks are kept`)
      return false
    }
    const inode = inodes.link(loc.inode, dir, name, rep.stat)
    if (inode === undefined) return false
    inodes.ref(inode)
    try {
      const count = Math.ceil(size / blockSize)
      const rate = options['shard-deletion-rate']
      const candidates = await blocks.candidates(frame, gfid, 1, count - 1)
      if (candidates.errno !== 0) return false
      for (const batch of batches(candidates.value, rate)) {
        if (this.#ended) return false
        const removed = await eachOf(batch, rate, (number) => blocks.remove(frame, gfid, number))
        const errno = removed.find((one) => one.errno !== 0)?.errno
        if (errno === undefined) continue
        log.warn(`blocks of the removed file ${name} are kept: ${errnoName(errno)}`)
        return false
      }
      const target = Loc.ofName(dir, name, inode)
      const gone = await frame.wind(child, 'unlink', { loc: target, flags: 0 })
      if (gone.errno === 0) inodes.unlinkName(dir, name)
      return gone.errno === 0 || gone.errno === E.NOENT
    } finally {
      inodes.unref(inode)
    }
  }
}

function* batches(numbers: Iterable<number>, size: number): Generator<number[]> {
  let batch: number[] = []
  for (const number of numbers) {
    batch.push(number)
    if (batch.length < size) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

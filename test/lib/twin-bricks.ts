/** A stock brick and our brick's translators, asked the same. Inside the sandbox only. */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { Dict } from '../../src/core/dict.ts'
import type { Errno } from '../../src/core/errno.ts'
import type { Rep } from '../../src/core/fop.ts'
import { type Creds, ROOT_CREDS } from '../../src/core/frame.ts'
import type { Gfid } from '../../src/core/gfid.ts'
import { Brick } from './brick.ts'
import { BrickBench, TestClient } from './brick-bench.ts'
import { space, Volume } from './sandbox.ts'
import { type Compare, normal, Side } from './twin.ts'

/** Time flags that features/utime sends with fops that make, and that relink or remove, a name. */
export const CREATES = 31
export const RELINKS = 25

let clockSec = 1_700_000_000

/** Root at a client whose clock moves with each fop. */
export function stamped(timeFlags: number): Creds {
  clockSec += 10
  return { ...ROOT_CREDS, timeFlags, timeSec: clockSec, timeNsec: 123_456_789 }
}

export const user = (uid: number): Creds => ({ ...ROOT_CREDS, uid, gid: uid, pid: 300 })

export const gfidReq = (gfid: Gfid): Dict => new Dict().setGfid('gfid-req', gfid)

export class Twins {
  readonly volume: Volume
  readonly stock: Brick
  readonly ours: BrickBench
  readonly sides: readonly [stock: Side, ours: Side]

  constructor(volume: Volume, stock: Brick, ours: BrickBench) {
    this.volume = volume
    this.stock = stock
    this.ours = ours
    const client = new TestClient('ours')
    this.sides = [
      new Side('stock', stock.graph.inodes, (fop, req, creds) => stock.call(fop, req, creds)),
      new Side('ours', ours.graph.inodes, (fop, req, creds) =>
        ours.run(fop, req, { ...(creds ?? ROOT_CREDS), client }),
      ),
    ]
  }

  static async start(name: string): Promise<Twins> {
    // Replicated, so that the brick watches counters; its daemon must not heal them away.
    const set = { 'cluster.self-heal-daemon': 'off' }
    const volume = await Volume.create(name, { bricks: 3, layout: ['replica', '3'], set })
    const stock = await Brick.connect(name)
    const path = space(`bricks/${name}-ours`)
    mkdirSync(path, { recursive: true })
    const index = {
      'index-base': `${path}/.glusterfs/indices`,
      'xattrop-pending-watchlist': `trusted.afr.${name}-`,
      'xattrop-dirty-watchlist': 'trusted.afr.dirty',
    }
    const ours = await BrickBench.make(
      [
        ['features/access-control'],
        ['features/locks'],
        ['features/upcall'],
        ['features/index', index],
      ],
      { 'fips-mode-rchecksum': 'on', reserve: '1', 'shared-brick-count': '3' },
      path,
    )
    return new Twins(volume, stock, ours)
  }

  async stop(): Promise<void> {
    await this.stock.graph.stop()
    this.ours.stop()
    await this.volume.killBricks()
  }

  /** Both sides do it; both must answer the same, with `errno`. */
  async both<R extends { errno: 0 | Errno }>(
    what: string,
    errno: number,
    step: (side: Side) => Promise<R>,
    compare: Compare = {},
  ): Promise<R> {
    const [theirs, ours] = [await step(this.sides[0]), await step(this.sides[1])]
    assert.equal(theirs.errno, errno, `${what}: errno of the stock brick`)
    assert.deepEqual(normal(ours, compare), normal(theirs, compare), what)
    return ours
  }

  mknod(parent: Gfid, name: string, gfid: Gfid, mode = 0o100644, errno = 0): Promise<Rep<'mknod'>> {
    const creds = stamped(CREATES)
    const xdata = gfidReq(gfid)
    return this.both(
      `mknod ${name}`,
      errno,
      (side) => {
        const loc = side.entry(parent, name)
        return side.call('mknod', { loc, mode, rdev: 0, umask: 0, xdata }, creds)
      },
      { times: true },
    )
  }

  mkdir(parent: Gfid, name: string, gfid: Gfid, errno = 0, times = true): Promise<Rep<'mkdir'>> {
    const creds = stamped(CREATES)
    const xdata = gfidReq(gfid)
    return this.both(
      `mkdir ${name}`,
      errno,
      (side) => {
        const loc = side.entry(parent, name)
        return side.call('mkdir', { loc, mode: 0o755, umask: 0o22, xdata }, creds)
      },
      { times },
    )
  }
}

/** Canonical text of a gfid, as names of handles and index entries have it. */
export function gfidName(gfid: Gfid): string {
  const hex = Buffer.from(gfid, 'latin1').toString('hex')
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

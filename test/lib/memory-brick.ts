/** A SimBrick with POSIX locks that wait and can be given up, for mounting it. */
import { Dict } from '../../src/core/dict.ts'
import { E, type Errno } from '../../src/core/errno.ts'
import {
  F_GETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  type Flock,
  type Fop,
  type Rep,
} from '../../src/core/fop.ts'
import type { Gfid } from '../../src/core/gfid.ts'
import { O_APPEND } from '../../src/core/open-flags.ts'
import { defineXlator, type XlatorDefinition } from '../../src/core/xlator.ts'
import { SimBrick } from './sim-brick.ts'

interface Held {
  gfid: Gfid
  owner: string
  flock: Flock
}
interface Waiter extends Held {
  answer: (rep: Rep<'lk'>) => void
}

const endOf = (flock: Flock): bigint => (flock.len === 0n ? 1n << 63n : flock.start + flock.len)

export class MemoryBrick extends SimBrick {
  #held: Held[] = []
  #waiting: Waiter[] = []

  override init(): void {
    super.init()
    const { flush, fgetxattr } = this as unknown as {
      flush: Fop<'flush'>
      fgetxattr: Fop<'fgetxattr'>
    }
    const { writev } = this as unknown as { writev: Fop<'writev'> }
    // pwrite(2) on Linux: with O_APPEND the offset counts for nothing.
    this.writev = (frame, req) => {
      if ((req.fd.flags & O_APPEND) === 0) return writev(frame, req)
      const offset = this.store.resolve(req.fd.inode.gfid)?.data.length ?? req.offset
      return writev(frame, { ...req, offset })
    }
    this.lk = (frame, { fd, cmd, flock }) =>
      this.#lk(fd.inode.gfid, frame.creds.lkOwner.toString('hex'), cmd, flock)
    this.flush = (frame, req) => {
      const owner = frame.creds.lkOwner.toString('hex')
      const { gfid } = req.fd.inode
      this.#drop({ gfid, owner, flock: { ...WHOLE, type: F_UNLCK, lkOwner: frame.creds.lkOwner } })
      return flush(frame, req)
    }
    this.fgetxattr = (frame, req) => {
      if (!req.name?.startsWith('glusterfs.intrlk.')) return fgetxattr(frame, req)
      this.trace.push(`fgetxattr ${req.name}`)
      const at = this.#waiting.findIndex((one) => one.owner === frame.creds.lkOwner.toString('hex'))
      if (at < 0) return { errno: E.NODATA as Errno }
      const [given] = this.#waiting.splice(at, 1)
      given!.answer({ errno: E.INTR })
      return { errno: 0, dict: new Dict().setInt(req.name, 1) }
    }
  }

  #conflict(asked: Held): Held | undefined {
    return this.#held.find(
      (held) =>
        held.gfid === asked.gfid &&
        held.owner !== asked.owner &&
        (held.flock.type === F_WRLCK || asked.flock.type === F_WRLCK) &&
        held.flock.start < endOf(asked.flock) &&
        asked.flock.start < endOf(held.flock),
    )
  }

  /** Takes `asked`'s range away from its owner's locks and lets waiters in. */
  #drop(asked: Held): void {
    const kept: Held[] = []
    for (const held of this.#held) {
      const [start, end] = [asked.flock.start, endOf(asked.flock)]
      const [from, to] = [held.flock.start, endOf(held.flock)]
      const same = held.gfid === asked.gfid && held.owner === asked.owner
      if (!same || from >= end || start >= to) {
        kept.push(held)
        continue
      }
      const part = (a: bigint, b: bigint) => ({
        ...held,
        flock: { ...held.flock, start: a, len: b === 1n << 63n ? 0n : b - a },
      })
      if (from < start) kept.push(part(from, start))
      if (end < to) kept.push(part(end, to))
    }
    this.#held = kept
    for (const waiter of [...this.#waiting]) {
      if (this.#conflict(waiter) !== undefined) continue
      this.#waiting.splice(this.#waiting.indexOf(waiter), 1)
      this.#held.push(waiter)
      waiter.answer({ errno: 0, flock: waiter.flock })
    }
  }

  #lk(gfid: Gfid, owner: string, cmd: number, flock: Flock): Rep<'lk'> | Promise<Rep<'lk'>> {
    this.trace.push('lk')
    const asked = { gfid, owner, flock }
    const conflict = flock.type === F_UNLCK ? undefined : this.#conflict(asked)
    if (cmd === F_GETLK) {
      return { errno: 0, flock: conflict?.flock ?? { ...flock, type: F_UNLCK } }
    }
    if (conflict !== undefined) {
      if (cmd !== F_SETLKW) return { errno: E.AGAIN }
      return new Promise((answer) => this.#waiting.push({ ...asked, answer }))
    }
    this.#drop(asked)
    if (flock.type !== F_UNLCK) this.#held.push(asked)
    return { errno: 0, flock }
  }

  /** Another client appends bytes: `NAME TEXT` in the root directory. */
  appendElsewhere(argument: string): string {
    const [name, text] = argument.split(' ')
    const node = this.store.root.children.get(name!)!.node
    node.data = Buffer.concat([node.data, Buffer.from(text!)])
    node.mtime = node.ctime = this.store.now()
    return 'ok'
  }
}

const WHOLE = { type: F_UNLCK, whence: 0, start: 0n, len: 0n, pid: 0 }

export const memoryBrick: XlatorDefinition = defineXlator({
  type: 'protocol/client',
  class: MemoryBrick,
  options: {},
  children: 0,
})

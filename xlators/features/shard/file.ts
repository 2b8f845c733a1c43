/**
 * What is known of one sharded file. Its size is that of the xattr as last seen, and what this
 * client changed since. Sizes only travel as differences, one at a time and each with all that was
 * written meanwhile; where the sum a brick answers shows that another client had changed the size,
 * the difference is put right.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import { type Rep, XATTROP_ADD_ARRAY64 } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import type { Block } from './blocks.ts'
import { encodeFileSize, FILE_SIZE_KEY, type FileSize, fileSizeOf } from './keys.ts'

const O_RDWR = 2

/** Counts changes of sizes made here, of all files. */
let changes = 0

/** The moment before a question, by which `learn` tells whether the answer is old. */
export const askedNow = (): number => changes

/** Changes not yet sent, and who waits for them. */
interface Pending {
  end: number
  blocks: number
  done: Promise<Errno | 0>
  settle: (errno: Errno | 0) => void
}

export class ShardFile {
  readonly blockSize: number
  size = 0
  blocks = 0
  /** Attributes of the base file, for replies of fops that ask other blocks. */
  stat = new Iatt()
  /** Number of the last change of `size` made here: answers asked for before it are old. */
  #changed = 0
  readonly known = new Map<number, Block>()
  /** Syncs of blocks that left the list of known ones. */
  readonly leaving = new Set<Promise<Errno | 0>>()
  readonly gate = new Gate()
  /** Its last name is gone; blocks go when nobody has it open any more. */
  removed = false
  #pending: Pending | undefined
  #sending = false
  #anonymous: Fd | undefined

  constructor(blockSize: number) {
    this.blockSize = blockSize
  }

  /** Reaches the base file whatever the flags of the application's fd. */
  anonymous(inode: Inode): Fd {
    this.#anonymous ??= new Fd(inode, O_RDWR, 0)
    return this.#anonymous
  }

  /** Base file's attributes and the xattr, from a reply to what was asked at `asked`. */
  learn(stat: Iatt, fileSize: FileSize | undefined, asked: number): void {
    if (fileSize !== undefined && this.#changed <= asked && !this.#busy) {
      this.size = fileSize.size
      this.blocks = fileSize.blocks
    }
    this.stat = stat
  }

  get #busy(): boolean {
    return this.#sending || this.#pending !== undefined
  }

  /** `stat` with the file's true size. */
  show(stat: Iatt): Iatt {
    const shown = stat.clone()
    shown.size = this.size
    shown.blocks = this.blocks
    return shown
  }

  /** A write ended at `end` (0: the size stays) and `blocks` more are in use. */
  grow(frame: Frame, child: Xlator, inode: Inode, end: number, blocks: number) {
    if (end <= this.size && blocks === 0 && !this.#busy) return 0
    if (this.#pending === undefined) {
      let settle: (errno: Errno | 0) => void = () => {}
      const done = new Promise<Errno | 0>((resolve) => {
        settle = resolve
      })
      this.#pending = { end: 0, blocks: 0, done, settle }
    }
    const pending = this.#pending
    pending.end = Math.max(pending.end, end)
    pending.blocks += blocks
    this.#changed = ++changes
    if (!this.#sending) void this.#send(frame, child, inode)
    return pending.done
  }

  async #send(frame: Frame, child: Xlator, inode: Inode): Promise<void> {
    this.#sending = true
    try {
      while (this.#pending !== undefined) {
        const { end, blocks, settle } = this.#pending
        this.#pending = undefined
        settle(await this.#extend(frame, child, inode, end, blocks))
      }
    } finally {
      this.#sending = false
    }
  }

  async #extend(frame: Frame, child: Xlator, inode: Inode, end: number, blocks: number) {
    const grown = Math.max(0, end - this.size)
    if (grown === 0 && blocks === 0) return 0
    const rep = await this.add(frame, child, inode, grown, blocks)
    if (rep.errno !== 0) return rep.errno
    // Where somebody else had changed the size before ours was added to it, the sum is wrong.
    const wrong = this.size - Math.max(this.size - grown, end)
    if (wrong === 0) return 0
    const again = await this.add(frame, child, inode, -wrong, 0)
    if (again.errno !== 0) return again.errno
    return 0
  }

  /** Adds to the xattr; `size` and `blocks` are then what the brick has. */
  async add(frame: Frame, child: Xlator, inode: Inode, size: number, blocks: number) {
    this.#changed = ++changes
    const dict = new Dict().setBytes(FILE_SIZE_KEY, encodeFileSize(size, blocks))
    const op = XATTROP_ADD_ARRAY64
    let rep: Rep<'xattrop'> = await frame.wind(child, 'xattrop', {
      loc: Loc.ofInode(inode),
      op,
      dict,
    })
    if (rep.errno === E.NOENT || rep.errno === E.STALE) {
      // Its last name is gone; who has it open reaches it still.
      const fd = openOn(inode)
      if (fd !== undefined) rep = await frame.wind(child, 'fxattrop', { fd, op, dict })
    }
    this.#changed = ++changes
    if (rep.errno !== 0) return rep
    const now = fileSizeOf(rep.dict)
    this.size = now?.size ?? this.size + size
    this.blocks = now?.blocks ?? this.blocks + blocks
    return rep
  }
}

function openOn(inode: Inode): Fd | undefined {
  for (const fd of inode.fds) if (!fd.closing) return fd
  return undefined
}

/** Writes pass side by side; what needs the file for itself waits for them and keeps them out. */
export class Gate {
  #inside = 0
  #alone: Promise<void> | undefined
  #empty: (() => void) | undefined

  /** Returns at once, without a promise, where nobody is alone. */
  enter(): Promise<void> | undefined {
    if (this.#alone === undefined) {
      this.#inside++
      return undefined
    }
    return this.#enterLater()
  }

  async #enterLater(): Promise<void> {
    while (this.#alone !== undefined) await this.#alone
    this.#inside++
  }

  leave(): void {
    this.#inside--
    if (this.#inside === 0) this.#empty?.()
  }

  async alone<T>(work: () => Promise<T>): Promise<T> {
    while (this.#alone !== undefined) await this.#alone
    let done = (): void => {}
    this.#alone = new Promise((resolve) => {
      done = resolve
    })
    try {
      if (this.#inside > 0) {
        await new Promise<void>((resolve) => {
          this.#empty = resolve
        })
        this.#empty = undefined
      }
      return await work()
    } finally {
      this.#alone = undefined
      done()
    }
  }
}

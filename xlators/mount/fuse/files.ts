import type { Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { DirEntry } from '../../../src/core/fop.ts'
import type { Inode, InodeTable } from '../../../src/core/inode.ts'
import type { Serving } from '../../../src/fuse/request.ts'

/** An open file or directory as the kernel holds it, by its handle `fh`. */
export class OpenFile {
  readonly fh: number
  readonly fd: Fd
  /** Requests under way on it. */
  users = 0
  /** The kernel has let go; the fd ends with the last user. */
  closing = false
  /** The page cache is bypassed (FOPEN_DIRECT_IO). */
  directIo = false
  /** It could not be opened on a newer graph and stays with this one until it is closed. */
  home: Serving | undefined
  /** Called when it has ended. */
  ended: (() => void) | undefined
  /** A lock was granted through it; locks move to a new graph with the fd. */
  hasLocks = false
  /**
   * For page writeback where this fd would append or bypass the brick's page cache: an fd without
   * such flags, opened when first needed, released with this file.
   */
  pages: Promise<Fd | undefined> | undefined
  /**
   * Directory entries read but not yet asked for, in order. They follow the entry whose cookie is
   * `restAfter`. At most one reply of the bricks.
   */
  rest: DirEntry[] = []
  restAfter = -1n
  /** The listing ends behind the entry with this cookie, as the bricks have said. */
  endsAfter = -1n
  /** Of a directory: the bricks of the graph whose offsets the kernel was given last. */
  leaves: readonly string[] | undefined

  /** A directory that the bricks know nothing of: the kernel was told that it has the listing. */
  unopened = false
  /** It is being opened after all. */
  opening: Promise<0 | Errno> | undefined

  constructor(fh: number, fd: Fd) {
    this.fh = fh
    this.fd = fd
  }
}

/** Every open file and directory of the mount. */
export class OpenFiles {
  readonly #byHandle = new Map<number, OpenFile>()
  readonly #byFd = new Map<Fd, OpenFile>()
  readonly #table: InodeTable
  #next = 1

  constructor(table: InodeTable) {
    this.#table = table
  }

  get count(): number {
    return this.#byHandle.size
  }

  all(): IterableIterator<OpenFile> {
    return this.#byHandle.values()
  }

  get(fh: number): OpenFile | undefined {
    return this.#byHandle.get(fh)
  }

  of(fd: Fd): OpenFile | undefined {
    return this.#byFd.get(fd)
  }

  /** A file of the inode that is open on the bricks: the only way to one without a name. */
  openOn(inode: Inode): OpenFile | undefined {
    for (const fd of inode.fds) {
      const file = this.#byFd.get(fd)
      if (file !== undefined && !file.unopened) return file
    }
    return undefined
  }

  /** The fd was opened on the bricks: gives it a handle. */
  add(fd: Fd): OpenFile {
    const file = new OpenFile(this.#next++, fd.bind())
    this.#byHandle.set(file.fh, file)
    this.#byFd.set(fd, file)
    return file
  }

  /** RELEASE: the handle is gone, the fd ends when the fops under way on it are answered. */
  close(file: OpenFile): void {
    this.#byHandle.delete(file.fh)
    file.closing = true
    if (file.users === 0) this.#end(file)
  }

  done(file: OpenFile): void {
    file.users--
    if (file.closing && file.users === 0) this.#end(file)
  }

  #end(file: OpenFile): void {
    this.#byFd.delete(file.fd)
    file.fd.release()
    this.dropPages(file)
    this.#table.retireIfIdle(file.fd.inode)
    file.ended?.()
  }

  dropPages(file: OpenFile): void {
    void file.pages?.then((fd) => fd?.release())
    file.pages = undefined
  }

  closeAll(): void {
    for (const file of [...this.#byHandle.values()]) this.close(file)
  }
}

/** What io-cache, quick-read and read-ahead have in common: keeping content true. */
import { connectionsChanged, type Event } from '../../src/core/event.ts'
import type { Fop, FopName, MaybePromise, Rep, Req } from '../../src/core/fop.ts'
import type { Frame } from '../../src/core/frame.ts'
import type { Iatt } from '../../src/core/iatt.ts'
import type { Inode } from '../../src/core/inode.ts'
import { O_TRUNC } from '../../src/core/open-flags.ts'
import type { OptionTable } from '../../src/core/options.ts'
import { Xlator } from '../../src/core/xlator.ts'
import { knownInode, look, Stamps } from './look.ts'

/**
 * A translator that keeps content of files. Changes through this client end what is kept, from
 * their start on and again when they are done; upcalls and lost connections do for others'. Every
 * reply with attributes is shown to it: what was kept may be confirmed or refuted by them.
 */
export abstract class ContentCache<T extends OptionTable> extends Xlator<T> {
  protected readonly stamps = new Stamps()

  /** The file's content changes, or has just changed. */
  protected abstract contentChanged(inode: Inode): void
  /**
   * A reply to a fop that began at `begin` shows the file. `listed`: in a listing, which may have
   * been read ahead: it refutes what is kept and does not confirm it.
   */
  protected abstract saw(inode: Inode, begin: number, stat: Iatt, listed: boolean): void
  /** Others' changes may have gone unnoticed: nothing kept so far is true. */
  protected abstract connectionsChanged(): void

  stat: Fop<'stat'> = (frame, req) => {
    const begin = this.stamps.next()
    return look(frame.wind(this.child, 'stat', req), (rep) => {
      if (rep.errno === 0 && rep.stat.ctime !== 0) this.saw(req.loc.inode, begin, rep.stat, false)
      return rep
    })
  }

  truncate: Fop<'truncate'> = (frame, req) => this.#changing(frame, 'truncate', req, req.loc.inode)

  open: Fop<'open'> = (frame, req) =>
    (req.flags & O_TRUNC) === 0
      ? frame.tail(this.child, 'open', req)
      : this.#changing(frame, 'open', req, req.loc.inode)

  writev: Fop<'writev'> = (frame, req) => this.#changing(frame, 'writev', req, req.fd.inode)

  ftruncate: Fop<'ftruncate'> = (frame, req) =>
    this.#changing(frame, 'ftruncate', req, req.fd.inode)

  fstat: Fop<'fstat'> = (frame, req) => {
    const begin = this.stamps.next()
    return look(frame.wind(this.child, 'fstat', req), (rep) => {
      if (rep.errno === 0 && rep.stat.ctime !== 0) this.saw(req.fd.inode, begin, rep.stat, false)
      return rep
    })
  }

  lookup: Fop<'lookup'> = (frame, req) => {
    const begin = this.stamps.next()
    return look(frame.wind(this.child, 'lookup', req), (rep) => {
      if (rep.errno !== 0 || rep.stat.ctime === 0) return rep
      this.saw(knownInode(req.loc.inode, rep.stat.gfid), begin, rep.stat, false)
      return rep
    })
  }

  /**
   * The kernel believes a listing's times and would take content older than them for content of
   * them, until the file changes again.
   */
  readdirp: Fop<'readdirp'> = (frame, req) => {
    const begin = this.stamps.next()
    return look(frame.wind(this.child, 'readdirp', req), (rep) => {
      if (rep.errno !== 0) return rep
      for (const { inode, stat } of rep.entries) {
        if (inode === undefined || stat === undefined || stat.ctime === 0) continue
        this.saw(inode, begin, stat, true)
      }
      return rep
    })
  }

  fallocate: Fop<'fallocate'> = (frame, req) =>
    this.#changing(frame, 'fallocate', req, req.fd.inode)
  discard: Fop<'discard'> = (frame, req) => this.#changing(frame, 'discard', req, req.fd.inode)
  zerofill: Fop<'zerofill'> = (frame, req) => this.#changing(frame, 'zerofill', req, req.fd.inode)
  copy_file_range: Fop<'copy_file_range'> = (frame, req) =>
    this.#changing(frame, 'copy_file_range', req, req.fdOut.inode)

  override notify(event: Event, from: Xlator | undefined): void {
    if (connectionsChanged(event)) this.connectionsChanged()
    switch (event.type) {
      case 'invalidate-inode':
        this.contentChanged(event.inode)
        break
      case 'upcall': {
        const { upcall } = event
        if (upcall.type !== 'cache-invalidation') break
        const inode = this.graph.inodes.byGfid(upcall.gfid)
        if (inode !== undefined) this.contentChanged(inode)
        break
      }
      default:
        break
    }
    super.notify(event, from)
  }

  #changing<K extends ChangingFop>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    inode: Inode,
  ): MaybePromise<Rep<K>> {
    this.contentChanged(inode)
    return look(frame.wind(this.child, fop, req), (rep) => {
      this.contentChanged(inode)
      return rep
    })
  }
}

type ChangingFop = Extract<
  FopName,
  | 'truncate'
  | 'open'
  | 'writev'
  | 'ftruncate'
  | 'fallocate'
  | 'discard'
  | 'zerofill'
  | 'copy_file_range'
>

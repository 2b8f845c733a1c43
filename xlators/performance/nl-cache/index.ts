/**
 * performance/nl-cache: remembers names that are not there, and answers their lookups with ENOENT.
 * With nl-cache-positive-entry it also remembers the names that are in directories this client
 * made, so that any other name is known to be absent.
 *
 * Needs upcalls (features.cache-invalidation): without them a name another client makes stays
 * unseen for nl-cache-timeout. A lookup's ENOENT is remembered only if nothing changed the
 * directory since the lookup began.
 */
import { clock, NEVER } from '../../../src/core/clock.ts'
import { InodeContext } from '../../../src/core/context.ts'
import { E } from '../../../src/core/errno.ts'
import {
  connectionsChanged,
  type Event,
  UP_NLINK,
  UP_RENAME_FLAGS,
  UP_TIMES,
  type Upcall,
} from '../../../src/core/event.ts'
import type { Fop, FopName, MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { gfidText, NULL_GFID } from '../../../src/core/gfid.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { knownInode, look, PassThrough, Stamps, wallSeconds } from '../look.ts'

export const options = defineOptions({
  'nl-cache-limit': {
    type: 'size',
    default: '131072',
    min: 0,
    max: 100 * 2 ** 20,
    description: 'Bytes of all remembered names.',
  },
  'nl-cache-timeout': {
    type: 'time',
    default: '60',
    min: 0,
    max: 600,
    description: 'Seconds that names are remembered.',
  },
  'nl-cache-positive-entry': {
    type: 'bool',
    default: 'false',
    description: 'Remember also the names in directories made by this client.',
  },
  'pass-through': { type: 'bool', default: 'false', description: 'Do nothing.' },
})

/** What a remembered directory and a name take, about, besides the name's bytes. */
const DIRECTORY_BYTES = 120
/** Longest name, bytes. */
const NAME_MAX = 255
const NAME_BYTES = 32
const REAL_FILENAME = 'glusterfs.get_real_filename:'

class Directory {
  readonly inode: Inode
  readonly absent = new Set<string>()
  /** Names that are there; `full`: there are no others. */
  readonly present = new Set<string>()
  full = false
  /** Stamp when it was begun to be remembered; all of it ends a timeout later. */
  readonly since: number
  bytes = DIRECTORY_BYTES

  constructor(inode: Inode, since: number) {
    this.inode = inode
    this.since = since
  }
}

export class NlCache extends Xlator<typeof options> {
  /** Stamp of the last change of names, by directory. */
  readonly #changes = new InodeContext<{ at: number }>(this)
  /** Least recently used first. */
  readonly #directories = new Map<Inode, Directory>()
  readonly #passThrough = new PassThrough(this as unknown as Xlator)
  readonly #stamps = new Stamps()
  #validFrom = NEVER
  #bytes = 0
  readonly #counts = {
    negative_lookup_hit_count: 0,
    negative_lookup_miss_count: 0,
    get_real_filename_hit_count: 0,
    get_real_filename_miss_count: 0,
    nameless_lookup_count: 0,
    inodes_with_positive_dentry_cache: 0,
    inodes_with_negative_dentry_cache: 0,
    dentry_invalidations_received: 0,
  }

  override init(): void {
    this.#passThrough.set(this.options['pass-through'])
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    super.reconfigure(values)
    this.#passThrough.set(values['pass-through'])
    this.#dropAll()
  }

  mknod: Fop<'mknod'> = (frame, req) => this.#making(frame, 'mknod', req, req.loc)

  mkdir: Fop<'mkdir'> = (frame, req) => {
    const rep = this.#making(frame, 'mkdir', req, req.loc)
    return look(rep, (made) => {
      if (made.errno === 0 && this.options['nl-cache-positive-entry']) {
        this.#isEmpty(knownInode(req.loc.inode, made.stat.gfid))
      }
      return made
    })
  }

  unlink: Fop<'unlink'> = (frame, req) => this.#removing(frame, 'unlink', req, req.loc)

  rmdir: Fop<'rmdir'> = (frame, req) => {
    this.#drop(req.loc.inode)
    return this.#removing(frame, 'rmdir', req, req.loc)
  }

  symlink: Fop<'symlink'> = (frame, req) => this.#making(frame, 'symlink', req, req.loc)

  rename: Fop<'rename'> = (frame, req) => {
    const { oldloc, newloc } = req
    this.#changed(newloc.parent)
    const at = this.#changed(oldloc.parent)
    this.#forgetName(newloc)
    return look(frame.wind(this.child, 'rename', req), (rep) => {
      const last = this.#isLast(oldloc.parent, at)
      this.#changed(newloc.parent)
      this.#changed(oldloc.parent)
      if (rep.errno !== 0 || !last) {
        this.#dropParents(oldloc, newloc)
        return rep
      }
      this.#isThere(newloc)
      // Two links of one file: rename leaves both names.
      if (oldloc.inode !== newloc.inode) this.#isGone(oldloc)
      else this.#forgetName(oldloc)
      return rep
    })
  }

  link: Fop<'link'> = (frame, req) => this.#making(frame, 'link', req, req.newloc)
  create: Fop<'create'> = (frame, req) => this.#making(frame, 'create', req, req.loc)

  getxattr: Fop<'getxattr'> = (frame, req) => {
    if (req.name?.startsWith(REAL_FILENAME) !== true) {
      return frame.tail(this.child, 'getxattr', req)
    }
    const directory = this.#known(req.loc.inode)
    // The name is asked for in any case: only a list of all names can say no.
    const wanted = req.name.slice(REAL_FILENAME.length).toLowerCase()
    const absent =
      directory?.full === true &&
      [...directory.present].every((name) => name.toLowerCase() !== wanted)
    if (!absent) {
      this.#counts.get_real_filename_miss_count++
      return frame.tail(this.child, 'getxattr', req)
    }
    this.#counts.get_real_filename_hit_count++
    return { errno: E.NOENT }
  }

  lookup: Fop<'lookup'> = (frame, req) => {
    const { parent, name, inode } = req.loc
    if (parent === undefined || name === undefined) {
      this.#counts.nameless_lookup_count++
      return frame.tail(this.child, 'lookup', req)
    }
    // what is no name at all is for the bricks to say
    if (inode.gfid === NULL_GFID && name.length <= NAME_MAX && this.#isAbsent(parent, name)) {
      this.#counts.negative_lookup_hit_count++
      return { errno: E.NOENT }
    }
    const begin = this.#stamps.next()
    return look(frame.wind(this.child, 'lookup', req), (rep) => {
      if (rep.errno === E.NOENT) {
        this.#counts.negative_lookup_miss_count++
        if ((this.#changes.get(parent)?.at ?? 0) < begin) this.#remember(parent, begin, name)
      } else if (rep.errno === 0) this.#forgetName(req.loc)
      return rep
    })
  }

  override forget = (inode: Inode): void => this.#drop(inode)

  override notify(event: Event, from: Xlator | undefined): void {
    if (connectionsChanged(event)) this.#dropAll()
    else if (event.type === 'upcall') this.#heard(event.upcall)
    super.notify(event, from)
  }

  #heard(upcall: Upcall): void {
    if (upcall.type !== 'cache-invalidation') return
    const names = upcall.flags & (UP_TIMES | UP_NLINK | UP_RENAME_FLAGS)
    if (names === 0) return
    this.#counts.dentry_invalidations_received++
    const gfids = [upcall.gfid, upcall.parentStat.gfid, upcall.oldParentStat.gfid]
    for (const gfid of gfids) {
      const inode = this.graph.inodes.byGfid(gfid)
      if (inode === undefined) continue
      this.#changed(inode)
      this.#drop(inode)
      // An event that names no parent still is about an entry somewhere.
      for (const { parent } of inode.dentries) {
        this.#changed(parent)
        this.#drop(parent)
      }
    }
  }

  override dump(sink: DumpSink): void {
    sink.section(`performance/nl-cache.${this.name}`)
    for (const [key, count] of Object.entries(this.#counts)) sink.pair(key, count)
    sink.pair('cache_limit', this.options['nl-cache-limit'])
    sink.pair('consumed_cache_size', this.#bytes)
    sink.pair('inode_limit', Math.floor(this.options['nl-cache-limit'] / 100))
    sink.pair('consumed_inodes', this.#directories.size)
  }

  override dumpInode(inode: Inode, sink: DumpSink): void {
    const directory = this.#directories.get(inode)
    if (directory === undefined) return
    sink.section('xlator.performance.nl-cache.nlc_inode')
    sink.pair('path', inodePath(inode))
    sink.pair('inode', inode.nodeid)
    sink.pair('gfid', gfidText(inode.gfid))
    sink.pair('state', (directory.full ? 1 : 0) | (directory.absent.size > 0 ? 4 : 0))
    // its timer in stock, which has one for each
    sink.pair('timer', 0)
    sink.pair('cache-time', wallSeconds(directory.since))
    sink.pair('cache-size', directory.bytes)
    sink.pair('refd-inodes', 0)
    for (const name of directory.absent) sink.pair('ne', name)
  }

  /** What is remembered of a directory, while it may be believed. */
  #known(inode: Inode): Directory | undefined {
    const directory = this.#directories.get(inode)
    if (directory === undefined) return undefined
    const age = clock.now() - directory.since
    if (directory.since > this.#validFrom && age < this.options['nl-cache-timeout'] * 1000) {
      return directory
    }
    this.#drop(inode)
    return undefined
  }

  #isAbsent(parent: Inode, name: string): boolean {
    const directory = this.#known(parent)
    if (directory === undefined) return false
    const absent = directory.absent.has(name) || (directory.full && !directory.present.has(name))
    if (absent) this.#touch(directory)
    return absent
  }

  #touch(directory: Directory): void {
    this.#directories.delete(directory.inode)
    this.#directories.set(directory.inode, directory)
  }

  #need(inode: Inode, begin: number): Directory {
    const known = this.#known(inode)
    if (known !== undefined) return known
    const directory = new Directory(inode, begin)
    this.#directories.set(inode, directory)
    // So that `forget` is called for it.
    this.#changes.need(inode, () => ({ at: 0 }))
    this.#bytes += directory.bytes
    return directory
  }

  /** `name` was found absent by a lookup begun at `begin`. */
  #remember(parent: Inode, begin: number, name: string): void {
    const directory = this.#need(parent, begin)
    if (directory.absent.has(name)) return
    if (directory.absent.size === 0) this.#counts.inodes_with_negative_dentry_cache++
    directory.absent.add(name)
    this.#grow(directory, NAME_BYTES + name.length)
    this.#prune()
  }

  #isEmpty(inode: Inode): void {
    this.#drop(inode)
    this.#need(inode, this.#stamps.next()).full = true
    this.#counts.inodes_with_positive_dentry_cache++
    this.#prune()
  }

  #isThere({ parent, name }: Loc): void {
    const directory = parent === undefined ? undefined : this.#known(parent)
    if (directory === undefined || name === undefined) return
    if (directory.absent.delete(name)) this.#grow(directory, -NAME_BYTES - name.length)
    if (!directory.full || directory.present.has(name)) return
    directory.present.add(name)
    this.#grow(directory, NAME_BYTES + name.length)
    this.#prune()
  }

  #isGone({ parent, name }: Loc): void {
    const directory = parent === undefined ? undefined : this.#known(parent)
    if (parent === undefined || name === undefined) return
    if (directory?.present.delete(name)) this.#grow(directory, -NAME_BYTES - name.length)
    this.#remember(parent, this.#stamps.next(), name)
  }

  /** Nothing is known about the name. */
  #forgetName({ parent, name }: Loc): void {
    const directory = parent === undefined ? undefined : this.#directories.get(parent)
    if (directory === undefined || name === undefined) return
    if (directory.full) this.#isThere({ parent, name } as Loc)
    else if (directory.absent.delete(name)) this.#grow(directory, -NAME_BYTES - name.length)
  }

  #grow(directory: Directory, bytes: number): void {
    directory.bytes += bytes
    this.#bytes += bytes
  }

  #prune(): void {
    for (const inode of this.#directories.keys()) {
      if (this.#bytes <= this.options['nl-cache-limit']) return
      this.#drop(inode)
    }
  }

  #drop(inode: Inode): void {
    const directory = this.#directories.get(inode)
    if (directory === undefined) return
    this.#directories.delete(inode)
    this.#bytes -= directory.bytes
  }

  #dropAll(): void {
    this.#validFrom = this.#stamps.next()
    this.#directories.clear()
    this.#bytes = 0
  }

  #dropParents(...locs: Loc[]): void {
    for (const { parent } of locs) if (parent !== undefined) this.#drop(parent)
  }

  /** Lookups begun before now say nothing about the directory. Gives the change's stamp. */
  #changed(parent: Inode | undefined): number {
    const at = this.#stamps.next()
    if (parent !== undefined) this.#changes.need(parent, () => ({ at })).at = at
    return at
  }

  /** Nothing else changed the directory since the change `at`. */
  #isLast(parent: Inode | undefined, at: number): boolean {
    return parent !== undefined && this.#changes.get(parent)?.at === at
  }

  #making<K extends MakingFop>(frame: Frame, fop: K, req: Req<K>, loc: Loc): MaybePromise<Rep<K>> {
    // From now on another lookup may find it.
    this.#changed(loc.parent)
    this.#forgetName(loc)
    return look(frame.wind(this.child, fop, req), (rep) => {
      this.#changed(loc.parent)
      if (rep.errno === 0 || rep.errno === E.EXIST) this.#isThere(loc)
      else this.#dropParents(loc)
      return rep
    })
  }

  #removing<K extends 'unlink' | 'rmdir'>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    loc: Loc,
  ): MaybePromise<Rep<K>> {
    const at = this.#changed(loc.parent)
    return look(frame.wind(this.child, fop, req), (rep) => {
      const last = this.#isLast(loc.parent, at)
      this.#changed(loc.parent)
      if (rep.errno === 0 && last) this.#isGone(loc)
      else this.#dropParents(loc)
      return rep
    })
  }
}

type MakingFop = Extract<FopName, 'mknod' | 'mkdir' | 'symlink' | 'link' | 'create'>

export default defineXlator({ type: 'performance/nl-cache', class: NlCache, options, children: 1 })

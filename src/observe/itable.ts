/** The inode table and what translators keep on inodes and open files, for the state dump. */
import { type Gfid, gfidText } from '../core/gfid.ts'
import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../core/iatt.ts'
import type { Inode, InodeTable } from '../core/inode.ts'
import type { Xlator } from '../core/xlator.ts'
import type { DumpSink } from './dump.ts'

const SECTION = 'xlator.mount.fuse.itable'
/** Inodes listed one by one; the sizes count all. */
export const INODES_SHOWN_MAX = 8192

/** ia_type_t. */
const iaTypes: Readonly<Record<number, number>> = {
  [S_IFREG]: 1,
  [S_IFDIR]: 2,
  [S_IFLNK]: 3,
  [S_IFBLK]: 4,
  [S_IFCHR]: 5,
  [S_IFIFO]: 6,
  [S_IFSOCK]: 7,
}

/** References in stock's sense: of fops, open files and known children. */
const refsOf = (inode: Inode): number =>
  inode.refs + inode.fds.size + (inode.children?.size ?? 0) + (inode.isRoot ? 1 : 0)

export interface TableLimits {
  readonly lruLimit: number
  /** Inodes the kernel was asked to let go of. */
  readonly invalidateSize: number
}

export interface ItableInput {
  readonly table: InodeTable
  readonly limits: TableLimits
  /** Sections of translators on inodes, and on open files. */
  readonly choice: { readonly inodectx: boolean; readonly fdctx: boolean }
  /** Whose sections; lowest first, as stock lists them. */
  readonly xlators: readonly Xlator[]
  /** Inodes of `.meta`: no translator below has anything on them. */
  readonly isVirtual: (gfid: Gfid) => boolean
}

/**
 * Idle inodes that nobody knows are let go of at once: the purge list is always empty.
 */
export function dumpItable(input: ItableInput, sink: DumpSink): void {
  const { table, limits } = input
  const active: Inode[] = []
  const lru: Inode[] = []
  for (const inode of table.inodes()) (refsOf(inode) > 0 ? active : lru).push(inode)
  sink.section(SECTION)
  sink.pair(`${SECTION}.dentry_hashsize`, 0)
  sink.pair(`${SECTION}.inode_hashsize`, 0)
  sink.pair(`${SECTION}.name`, 'meta-autoload/inode')
  sink.pair(`${SECTION}.lru_limit`, limits.lruLimit)
  sink.pair(`${SECTION}.active_size`, active.length)
  sink.pair(`${SECTION}.lru_size`, lru.length)
  sink.pair(`${SECTION}.purge_size`, 0)
  sink.pair(`${SECTION}.invalidate_size`, limits.invalidateSize)
  let shown = 0
  for (const [list, inodes] of [['active', active] as const, ['lru', lru] as const]) {
    for (const [index, inode] of inodes.entries()) {
      if (++shown > INODES_SHOWN_MAX) return
      sink.section(`${SECTION}.${list}.${index + 1}`)
      dumpInode(inode, sink)
      if (!input.isVirtual(inode.gfid)) dumpContexts(inode, input, sink)
    }
  }
}

function dumpInode(inode: Inode, sink: DumpSink): void {
  sink.pair('gfid', gfidText(inode.gfid))
  sink.pair('nlookup', inode.isRoot ? 0 : inode.nlookup)
  sink.pair('fd-count', inode.fds.size)
  sink.pair('active-fd-count', [...inode.fds].filter((fd) => !fd.closing).length)
  sink.pair('ref', refsOf(inode))
  sink.pair('invalidate-sent', 0)
  sink.pair('ia_type', iaTypes[inode.type & S_IFMT] ?? 0)
}

/** A bug in one translator must not hide what the others show. */
function dumpContexts(inode: Inode, input: ItableInput, sink: DumpSink): void {
  try {
    if (input.choice.fdctx) {
      for (const fd of inode.fds) for (const xl of input.xlators) xl.dumpFd?.(fd, sink)
    }
    if (!input.choice.inodectx) return
    for (const xl of input.xlators) xl.dumpInode?.(inode, sink)
  } catch (error) {
    sink.pair('dump-error', String(error))
  }
}

/** How many inodes and open files carry a context, by translator slot. */
export interface ContextCounts {
  readonly inodes: readonly number[]
  readonly fds: readonly number[]
}

export function countContexts(table: InodeTable): ContextCounts {
  const inodes: number[] = []
  const fds: number[] = []
  const count = (into: number[], contexts: readonly unknown[]): void => {
    for (let slot = 0; slot < contexts.length; slot++) {
      if (contexts[slot] !== undefined) into[slot] = (into[slot] ?? 0) + 1
    }
  }
  for (const inode of table.inodes()) {
    count(inodes, inode.contexts)
    for (const fd of inode.fds) count(fds, fd.contexts)
  }
  return { inodes, fds }
}

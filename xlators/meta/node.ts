/** What `.meta` is made of. Nothing is kept: every look builds the nodes on the way anew. */
import { createHash } from 'node:crypto'
import type { Errno } from '../../src/core/errno.ts'
import { type Gfid, parseGfid } from '../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFLNK, S_IFREG, setInoFromGfid } from '../../src/core/iatt.ts'

export interface MetaDirectory {
  readonly kind: 'directory'
  /** Entries in the order they are listed. */
  readonly entries: () => ReadonlyMap<string, () => MetaNode>
}

export interface MetaFile {
  readonly kind: 'file'
  /** Content at the moment of opening, latin1; `uid` is who opens. */
  readonly read: (uid: number) => string
  /** Takes what was written; files without it are read-only. */
  readonly write?: (text: string) => 0 | Errno
}

export interface MetaLink {
  readonly kind: 'link'
  readonly target: () => string
}

export type MetaNode = MetaDirectory | MetaFile | MetaLink

export const directory = (
  entries: () => ReadonlyMap<string, () => MetaNode> | Iterable<[string, () => MetaNode]>,
): MetaDirectory => ({ kind: 'directory', entries: () => new Map(entries()) })
export const file = (
  read: (uid: number) => string,
  write?: (text: string) => 0 | Errno,
): MetaFile => (write === undefined ? { kind: 'file', read } : { kind: 'file', read, write })
export const link = (target: () => string): MetaLink => ({ kind: 'link', target })

/** The node at `path` below `root` (`''` is `root`). */
export function find(root: MetaDirectory, path: string): MetaNode | undefined {
  let node: MetaNode | undefined = root
  for (const name of path === '' ? [] : path.split('/')) {
    if (node?.kind !== 'directory') return undefined
    node = node.entries().get(name)?.()
  }
  return node
}

/** `.meta` itself, on every client. */
export const META_GFID = parseGfid('ba926388-bb9c-4eec-ad60-79dba4cc083a')!

/** A gfid that stays with the path; version 4 by its looks. */
export function gfidOfPath(path: string): Gfid {
  if (path === '') return META_GFID
  const digest = createHash('sha1').update('glusterfs-ts .meta/').update(path, 'latin1').digest()
  digest[6] = (digest[6]! & 0x0f) | 0x40
  digest[8] = (digest[8]! & 0x3f) | 0x80
  return digest.latin1Slice(0, 16) as Gfid
}

/** As stock shows them: size 0, all times those of the look. */
export function attributes(node: MetaNode, gfid: Gfid, time: { sec: number; nsec: number }): Iatt {
  const stat = new Iatt()
  stat.gfid = gfid
  setInoFromGfid(stat)
  stat.mode = modeOf(node)
  stat.nlink = node.kind === 'directory' ? 2 : 1
  stat.blksize = 131072
  stat.atime = time.sec
  stat.mtime = time.sec
  stat.ctime = time.sec
  stat.atimeNsec = time.nsec
  stat.mtimeNsec = time.nsec
  stat.ctimeNsec = time.nsec
  return stat
}

function modeOf(node: MetaNode): number {
  switch (node.kind) {
    case 'directory':
      return S_IFDIR | 0o555
    case 'link':
      return S_IFLNK | 0o777
    case 'file':
      return S_IFREG | (node.write === undefined ? 0o444 : 0o644)
  }
}

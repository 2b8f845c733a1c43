/**
 * What a client left on the bricks: names, types, sizes, bytes, owners, modes and every xattr.
 * gfids are random and times mostly now: gfids are shown as the path of what they name, times only
 * when they were set to something old.
 */
import { clock } from '../../../src/core/clock.ts'
import * as sys from '../../lib/syscalls.ts'
import { shownBytes, type Value } from './case.ts'
import { digest, walk } from './tree.ts'

export type BrickTree = Record<string, { [key: string]: Value }>

/** `args`: the volume's name, then its brick directories in order. */
export function brickTrees([volume, ...roots]: string[]): BrickTree[] {
  const since = clock.realtime().sec - 3600
  return roots.map((root) => brickTree(root, volume!, since))
}

function brickTree(root: string, volume: string, since: number): BrickTree {
  const directories = new Map<string, string>()
  const paths: string[] = ['']
  const gfidOf = (path: string): string => {
    const value = sys.getxattr({ link: `${root}${path}` }, 'trusted.gfid')
    return typeof value === 'number' ? String(sys.errnoName(value)) : value.toString('hex')
  }
  directories.set(gfidOf(''), '')
  walk(root, (path, type) => {
    if (path === '/.glusterfs' || path.startsWith('/.glusterfs/')) return
    paths.push(path)
    if (type === 4) directories.set(gfidOf(path), path)
  })
  const found: BrickTree = {}
  for (const path of paths) {
    const stat = sys.lstat(`${root}${path}`)
    if (typeof stat === 'number') continue
    const node: { [key: string]: Value } = {
      type: stat.type,
      mode: stat.mode.toString(8),
      uid: stat.uid,
      gid: stat.gid,
      rdev: stat.rdev,
    }
    if (stat.type !== 'dir') Object.assign(node, { nlink: stat.nlink, size: stat.size })
    if (stat.type === 'file') node.content = digest(`${root}${path}`, stat.size)
    if (stat.type === 'symlink') node.target = String(sys.readlink(`${root}${path}`))
    if (stat.mtime[0] < since) node.mtime = stat.mtime.join('.')
    node.xattrs = xattrs(`${root}${path}`, volume, directories, since)
    node.handle = handle(root, stat, gfidOf(path))
    found[path === '' ? '/' : path] = node
  }
  return found
}

function xattrs(
  path: string,
  volume: string,
  directories: Map<string, string>,
  since: number,
): { [key: string]: Value } {
  const names = sys.must(sys.listxattr({ link: path })) as string[]
  const shown: { [key: string]: Value } = {}
  const parents: string[] = []
  for (const name of names.sort()) {
    const value = sys.must(sys.getxattr({ link: path }, name)) as Buffer
    if (name === 'trusted.gfid' || name === 'trusted.glusterfs.volume-id') continue
    if (name.startsWith('trusted.gfid2path.')) {
      const text = value.latin1Slice()
      const parent = directories.get(text.slice(0, 36).replaceAll('-', ''))
      parents.push(`${parent ?? 'unknown'}${text.slice(36)}`)
    } else if (name === 'trusted.glusterfs.mdata') shown[name] = mdata(value, since)
    else if (name === 'trusted.glusterfs.dht.linkto') {
      shown[name] = value.latin1Slice().replace(`${volume}-`, 'V-')
    } else if (name.startsWith('trusted.')) shown[name] = value.toString('hex')
    else shown[name] = shownBytes(value)
  }
  if (parents.length > 0) shown.gfid2path = parents.sort()
  return shown
}

/** Version, flags, then ctime, mtime and atime (seconds and nanoseconds, big-endian). */
function mdata(value: Buffer, since: number): string {
  if (value.length !== 57) return value.toString('hex')
  const times = [9, 25, 41].map((at) => {
    const sec = Number(value.readBigInt64BE(at))
    return sec >= since && sec < since + 86_400
      ? 'now'
      : `${sec}.${Number(value.readBigInt64BE(at + 8))}`
  })
  return `v${value[0]} ${value.readBigUInt64BE(1)} ${times.join(' ')}`
}

/** The object's handle below .glusterfs: the same inode, or for a directory a symbolic link. */
function handle(root: string, stat: sys.Stat, gfid: string): string {
  const text = gfid.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  const path = `${root}/.glusterfs/${text.slice(0, 2)}/${text.slice(2, 4)}/${text}`
  const found = sys.lstat(path)
  if (typeof found === 'number') return String(sys.errnoName(found))
  if (stat.type === 'dir') return found.type === 'symlink' || found.ino === stat.ino ? 'ok' : 'bad'
  return found.ino === stat.ino ? 'ok' : 'another inode'
}

/** What a brick holds, as its directory shows it. */
import * as fs from 'node:fs'
import { join } from 'node:path'
import { getXattr, listXattr } from '../../src/sys/xattr.ts'

interface Entry {
  gfid: string
  /** Of a file with content. */
  text: string | undefined
  /** Counters that are not zero. */
  marks: string[]
}

/** By path from the brick's root; `.glusterfs` and what begins so is left out. */
export function treeOf(brick: string, contents: boolean): Map<string, Entry> {
  const tree = new Map<string, Entry>()
  const walk = (path: string): void => {
    for (const name of fs.readdirSync(join(brick, path)).sort()) {
      if (path === '' && name.startsWith('.glusterfs')) continue
      const at = `${path}/${name}`
      const full = join(brick, at)
      const isFile = fs.lstatSync(full).isFile()
      const gfid = getXattr(full, 'trusted.gfid')
      const text = isFile && contents ? fs.readFileSync(full, 'latin1') : undefined
      const hex = typeof gfid === 'number' ? 'none' : gfid.toString('hex')
      tree.set(at, { gfid: hex, text, marks: marksOf(full) })
      if (!isFile) walk(at)
    }
  }
  walk('')
  return tree
}

/** Counters of pending heals that are not zero. */
export function marksOf(path: string): string[] {
  const names = listXattr(path)
  if (typeof names === 'number') return []
  return names.flatMap((name) => {
    const value = /^trusted\.(afr\.|ec\.dirty)/.test(name) ? getXattr(path, name) : 0
    if (typeof value === 'number' || value.every((byte) => byte === 0)) return []
    return [`${name}=${value.toString('hex')}`]
  })
}

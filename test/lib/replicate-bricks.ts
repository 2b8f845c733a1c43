/** What bricks of a replicated volume hold, read from their directories. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Volume } from './sandbox.ts'

/** Everything below a brick that copies share, one line an object. */
function brickTree(brick: string, contents: boolean): string[] {
  const lines: string[] = []
  const walk = (path: string): void => {
    for (const name of readdirSync(join(brick, path)).sort()) {
      if (path === '' && name.startsWith('.glusterfs')) continue
      const at = join(path, name)
      const full = join(brick, at)
      const { mode, uid, gid, size, nlink } = lstatSync(full)
      const xattrs = execFileSync('getfattr', ['-h', '-d', '-m', '.', '-e', 'hex', full], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
      const kept = xattrs.split('\n').filter((line) => /^(user\.|trusted\.gfid=)/.test(line))
      const isDir = (mode & 0o170000) === 0o040000
      const isFile = (mode & 0o170000) === 0o100000
      const isLink = (mode & 0o170000) === 0o120000
      const content =
        isFile && contents
          ? `${size} ${createHash('sha256').update(readFileSync(full)).digest('hex')}`
          : ''
      const target = isLink ? readlinkSync(full) : ''
      const links = isDir ? '' : nlink
      lines.push([at, mode.toString(8), uid, gid, links, content, target, ...kept].join(' '))
      if (isDir) walk(at)
    }
  }
  walk('')
  return lines
}

/** The change logs on a brick that are not zero. */
function marksOn(brick: string): string[] {
  const marks: string[] = []
  const out = execFileSync(
    'getfattr',
    ['-R', '-h', '-d', '-m', 'trusted.afr', '-e', 'hex', '--absolute-names', brick],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 26 },
  )
  let file = ''
  for (const line of out.split('\n')) {
    if (line.startsWith('# file: ')) file = line.slice(8)
    else if (/^trusted\.afr\..*=0x(?!0+$)/.test(line) && !file.includes('/.glusterfs/')) {
      marks.push(`${file} ${line}`)
    }
  }
  return marks
}

export const marks = (volume: Volume): string[] => volume.bricks.flatMap((brick) => marksOn(brick))

/** All bricks hold the same, but for files `except`; the arbiter the same without content. */
export function equalBricks(
  volume: Volume,
  arbiter: boolean,
  except: ReadonlySet<string> = new Set(),
): void {
  volume.bricks.forEach((brick, index) => {
    const contents = !(arbiter && index === 2)
    const [one, other] = [brickTree(volume.bricks[0]!, contents), brickTree(brick, contents)]
    const differs = (from: string[], to: string[]) =>
      from.filter((line) => !to.includes(line) && !except.has(line.split(' ')[0]!))
    assert.deepEqual(
      { 0: differs(one, other), [index]: differs(other, one) },
      { 0: [], [index]: [] },
    )
  })
}

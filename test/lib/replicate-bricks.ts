/** What bricks of a replicated volume hold, read from their directories. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Volume } from './sandbox.ts'

const OUTPUT_MAX = 1 << 28

/** Xattrs that copies share, of everything below a brick, by path. */
function sharedXattrs(brick: string): Map<string, string[]> {
  const found = new Map<string, string[]>()
  const top = readdirSync(brick).filter((name) => !name.startsWith('.glusterfs'))
  if (top.length === 0) return found
  const words = [
    '-R',
    '-P',
    '-h',
    '-d',
    '-m',
    '.',
    '-e',
    'hex',
    '--',
    ...top.map((name) => `./${name}`),
  ]
  const out = execFileSync('getfattr', words, {
    cwd: brick,
    encoding: 'latin1',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: OUTPUT_MAX,
  })
  for (const block of out.split('\n\n')) {
    const [first, ...lines] = block.split('\n')
    if (!first?.startsWith('# file: ')) continue
    const path = first.slice(8).replace(/\\(\d{3})/g, (_, octal) => byte(octal as string))
    found.set(
      Buffer.from(join(path), 'latin1').toString(),
      lines.filter((line) => /^(user\.|trusted\.gfid=)/.test(line)),
    )
  }
  return found
}

const byte = (octal: string): string => String.fromCharCode(Number.parseInt(octal, 8))

/** Everything below a brick that copies share, one line an object. */
function brickTree(brick: string, contents: boolean): string[] {
  const lines: string[] = []
  const xattrs = sharedXattrs(brick)
  const walk = (path: string): void => {
    for (const name of readdirSync(join(brick, path)).sort()) {
      if (path === '' && name.startsWith('.glusterfs')) continue
      const at = join(path, name)
      const full = join(brick, at)
      const { mode, uid, gid, size, nlink } = lstatSync(full)
      const kept = xattrs.get(at)
      assert.ok(kept !== undefined, `${full} has no xattrs`)
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
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: OUTPUT_MAX },
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
  const whole = brickTree(volume.bricks[0]!, true)
  volume.bricks.slice(1).forEach((brick, at) => {
    const index = at + 1
    const contents = !(arbiter && index === 2)
    const one = contents ? whole : brickTree(volume.bricks[0]!, false)
    const other = brickTree(brick, contents)
    const differs = (from: string[], to: string[]) => {
      const there = new Set(to)
      return from.filter((line) => !there.has(line) && !except.has(line.split(' ')[0]!))
    }
    assert.deepEqual(
      { 0: differs(one, other), [index]: differs(other, one) },
      { 0: [], [index]: [] },
    )
  })
}

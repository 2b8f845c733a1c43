/**
 * A process that writes files and tells what must be there from then on:
 * `fsync-writer.js DIR FIRST`. Each line is begun or done: `c 7` = file f7 is written and fsynced,
 * `A 7`/`a 7` = a tail is about to be appended / appended and fsynced, `R 7`/`r 7` = f7 is about to
 * be renamed to g7 / renamed. It ends with the first error: its mount was killed.
 */
import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const SIZE_MAX = 150_000

/** What file number `i` holds, its tail included, and how long it is without. */
export function contentOf(i: number): { bytes: Buffer; head: number } {
  const head = (i * 7919) % SIZE_MAX
  const block = Buffer.from(Array.from({ length: 251 }, (_, at) => (at * 31 + i * 17) & 0xff))
  return { bytes: Buffer.alloc(head + 1 + ((i * 104_729) % 20_000), block), head }
}

const tell = (line: string): number => writeSync(1, `${line}\n`)

function work(dir: string, i: number): void {
  const { bytes, head } = contentOf(i)
  const fd = openSync(`${dir}/f${i}`, 'wx')
  writeSync(fd, bytes, 0, head)
  fsyncSync(fd)
  tell(`c ${i}`)
  if (i % 3 === 1) {
    tell(`A ${i}`)
    writeSync(fd, bytes, head, bytes.length - head)
    fsyncSync(fd)
    tell(`a ${i}`)
  }
  closeSync(fd)
  if (i % 4 !== 2) return
  tell(`R ${i}`)
  renameSync(`${dir}/f${i}`, `${dir}/g${i}`)
  tell(`r ${i}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dir = '', first = ''] = process.argv.slice(2)
  try {
    for (let i = Number(first); ; i++) work(dir, i)
  } catch {
    process.exit(0)
  }
}

/**
 * `npm run soak -- disperse-requests`: what each operation costs on a healthy 4+2 volume, counted by
 * the bricks, through the stock client and through ours. Ours must not send more.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { DisperseVolume, parseShape } from '../lib/disperse-volume.ts'
import { type ClientKind, enterSandbox, gluster, run, sleep } from '../lib/sandbox.ts'
import * as sys from '../lib/syscalls.ts'

const MIB = 1 << 20
/** Eager locks end, and what ends with them is sent. */
const SETTLE_MS = 2500

/** Measured once more by the same mount, for information: caches decide what it costs. */
const AGAIN = 'read 1 MiB'

const operations: readonly (readonly [string, (dir: string) => void])[] = [
  ['create, write 1 KiB, close', (dir) => writeFileSync(`${dir}/new`, Buffer.alloc(1024, 1))],
  ['write 1 MiB', (dir) => writeFileSync(`${dir}/mib`, Buffer.alloc(MIB, 2))],
  ['read 1 MiB', (dir) => void readFileSync(`${dir}/old`)],
  [
    'overwrite 100 bytes',
    (dir) => {
      const fd = sys.must(sys.open(`${dir}/old`, sys.O.O_WRONLY))
      sys.must(sys.pwrite(fd, Buffer.alloc(100, 3), 1000))
      sys.close(fd)
    },
  ],
  ['mkdir', (dir) => void sys.must(sys.mkdir(`${dir}/dir`))],
  ['rename', (dir) => void sys.must(sys.rename(`${dir}/old2`, `${dir}/moved`))],
  ['unlink', (dir) => void sys.must(sys.unlink(`${dir}/old3`))],
]

/** Requests all bricks had since the last call, by fop. */
async function counts(volume: string): Promise<Map<string, number>> {
  const text = await gluster('volume', 'profile', volume, 'info', 'incremental')
  const found = new Map<string, number>()
  for (const [, calls, fop] of text.matchAll(/[un]s\s+(\d+)\s+([A-Z]+)$/gm)) {
    if (/^(FORGET|RELEASE|RELEASEDIR|STATFS|UPCALL)$/.test(fop!)) continue
    found.set(fop!, (found.get(fop!) ?? 0) + Number(calls))
  }
  return found
}

async function measure(kind: ClientKind): Promise<Map<string, number>[]> {
  const { volume } = await DisperseVolume.create(`r${kind}`, parseShape('4+2'), {
    'cluster.disperse-self-heal-daemon': 'disable',
  })
  const other = await volume.mount('stock')
  for (const name of ['old', 'old2', 'old3']) {
    writeFileSync(`${other.dir}/${name}`, Buffer.alloc(MIB, 7))
  }
  // it leaves what it has not finished, and whoever comes next repairs it
  await sleep(SETTLE_MS)
  await other.unmount()
  await gluster('volume', 'profile', volume.name, 'start')
  const all: Map<string, number>[] = []
  let again: Map<string, number> | undefined
  for (const [name, work] of operations) {
    // a mount of its own for each: nothing is cached
    const mount = await volume.mount(kind)
    await run(['stat', mount.dir])
    await sleep(SETTLE_MS)
    await counts(volume.name)
    work(mount.dir)
    await sleep(SETTLE_MS)
    all.push(await counts(volume.name))
    if (name === AGAIN) {
      work(mount.dir)
      await sleep(SETTLE_MS)
      again = await counts(volume.name)
    }
    await mount.unmount()
  }
  all.push(again!)
  await volume.destroy()
  return all
}

const missing = await enterSandbox(import.meta.url)
if (missing !== false) {
  console.error(`disperse-requests: ${missing}`)
  process.exit(1)
}
const [stock, ours] = [await measure('stock'), await measure('ours')]
const total = (found: Map<string, number>): number =>
  [...found.values()].reduce((sum, count) => sum + count, 0)
let more = 0
const names = [...operations.map(([name]) => name), `${AGAIN} again (no requirement)`]
for (const [index, name] of names.entries()) {
  const [theirs, own] = [stock[index]!, ours[index]!]
  if (index < operations.length && total(own) > total(theirs)) more++
  const shown = [...new Set([...theirs.keys(), ...own.keys()])].map(
    (fop) => `${fop} ${theirs.get(fop) ?? 0}/${own.get(fop) ?? 0}`,
  )
  const totals = `stock ${total(theirs)}, ours ${total(own)}`
  console.log(`disperse-requests: ${name}: ${totals} (${shown.join(', ')})`)
}
console.log(`disperse-requests: ${more === 0 ? 'all held' : 'FAILED'}`)
process.exit(more === 0 ? 0 : 1)

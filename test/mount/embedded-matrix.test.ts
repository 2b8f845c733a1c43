/**
 * The syscall matrix on embedded volumes: through the stock client and through ours it must return
 * what the stock client returns on stock bricks, and our bricks must hold what stock's hold.
 */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Embedded } from '../lib/embedded.ts'
import {
  type ClientKind,
  enterSandbox,
  type Mount,
  projectRoot,
  run,
  space,
  Volume,
} from '../lib/sandbox.ts'
import type { BrickTree } from './matrix/bricks.ts'
import type { Results, Value } from './matrix/case.ts'
import { compare, type Difference, differsAgain, report } from './matrix/compare.ts'
import { knownOnDisperse, knownOnEmbedded } from './matrix/known.ts'

const skip = await enterSandbox(import.meta.url)

/**
 * EMBEDDED_SHAPES=2,4+2 EMBEDDED_CLIENTS=stock,ours runs all (`npm run soak -- embedded-matrix`),
 * MATRIX_CASES=rename,holes some cases only.
 */
const shapes = process.env.EMBEDDED_SHAPES?.split(',') ?? ['2']
const only = process.env.MATRIX_CASES?.split(',') ?? []
const clients = (process.env.EMBEDDED_CLIENTS ?? 'stock').split(',') as ClientKind[]

const program = join(projectRoot, 'dist/test/mount/matrix/run.js')

async function matrix<T>(...args: string[]): Promise<T> {
  const result = await run([process.execPath, program, ...args], { timeoutMs: 240_000 })
  if (result.stderr !== '') process.stderr.write(result.stderr)
  return JSON.parse(result.stdout) as T
}

for (const shape of shapes) {
  void describe(`matrix on embedded ${shape}`, { skip, timeout: 1_200_000 }, () => {
    const [data, redundancy] = shape.split('+').map(Number)
    const isDispersed = redundancy !== undefined
    const bricks = data! + (redundancy ?? 0)
    const layout = isDispersed
      ? ['disperse-data', String(data), 'redundancy', String(redundancy)]
      : []
    const embedded = new Map<ClientKind, Embedded>()
    const mounts: Mount[] = []
    let volume: Volume
    let local: string
    let localResults: Results
    let stockResults: Results

    const onDisperse = (one: Difference): boolean =>
      isDispersed && knownOnDisperse(one, { data: data!, redundancy })
    const unknown = (found: Difference[]): Difference[] =>
      found.filter((one) => !knownOnEmbedded(one) && !onDisperse(one))

    before(async () => {
      local = space(`local${bricks}`)
      mkdirSync(local)
      localResults = await matrix('matrix', local, ...only)
      volume = await Volume.create(`stock${bricks}`, { bricks, layout })
      mounts.push(await volume.mount('stock'))
      stockResults = await matrix('matrix', mounts[0]!.dir, ...only)
      for (const kind of clients) {
        const made = new Embedded(bricks, space('embedded'))
        embedded.set(kind, made)
        await made.start(isDispersed ? ['--disperse', shape] : [])
      }
    })

    after(async () => {
      for (const mount of mounts) await mount.unmount()
      for (const made of embedded.values()) await made.end()
      await volume.killBricks()
    })

    async function rerun(cases: string[]): Promise<Results> {
      const again = await Volume.create(`again${bricks}`, { bricks, layout })
      const mount = await again.mount('stock')
      try {
        return await matrix<Results>('matrix', mount.dir, ...cases)
      } finally {
        await mount.unmount()
        await again.destroy()
      }
    }

    for (const kind of clients) {
      void test(`every call returns what it returns on stock bricks: ${kind} client`, async () => {
        const mount = await embedded.get(kind)!.mountMore(kind)
        mounts.push(mount)
        const results = await matrix<Results>('matrix', mount.dir, ...only)
        const lenient = kind === 'stock'
        const first = unknown(compare(stockResults, results, localResults, lenient))
        const again = await differsAgain(first, rerun, results, localResults, lenient)
        assert.equal(again.length, 0, report(again))
      })
    }

    void test('both clients see of either volume what stock shows of stock bricks', async () => {
      const other = (kind: ClientKind): ClientKind => (kind === 'ours' ? 'stock' : 'ours')
      for (const kind of clients) mounts.push(await embedded.get(kind)!.mountMore(other(kind)))
      const trees = await Promise.all(
        mounts.map((mount) => matrix<Record<string, Value>>('tree', mount.dir)),
      )
      const reference = await matrix<Record<string, Value>>('tree', local)
      for (const [i, { dir, kind }] of mounts.entries()) {
        const found = unknown(compare(trees[0]!, trees[i]!, reference, kind === 'stock'))
        assert.equal(found.length, 0, `${dir}: ${report(found)}`)
      }
    })

    const wholeFiles = isDispersed ? 'fragments depend on what was written together' : false
    void test('our bricks hold what stock bricks hold', { skip: wholeFiles }, async () => {
      const reference = await matrix<BrickTree[]>('bricks', 'local', local)
      const stock = await matrix<BrickTree[]>('bricks', volume.name, ...volume.bricks)
      for (const kind of clients) {
        const held = await matrix<BrickTree[]>('bricks', 'vol', ...embedded.get(kind)!.bricks)
        for (const i of stock.keys()) {
          const found = unknown(compare(stock[i]!, held[i]!, reference[0]!, kind === 'stock'))
          assert.equal(found.length, 0, `${kind}, brick ${i}: ${report(found)}`)
        }
      }
    })
  })
}

/**
 * The syscall matrix on embedded volumes: through the stock client and through ours it must return
 * what the stock client returns on stock bricks, and our bricks must hold what stock's hold.
 */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parseType } from '../../src/server/shape.ts'
import { setWidth } from '../../src/server/volume.ts'
import { Embedded, layoutOf } from '../lib/embedded.ts'
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
 * EMBEDDED_SHAPES=distribute,4+2 EMBEDDED_CLIENTS=stock,ours runs both on two shapes (`npm run soak -- embedded-matrix`),
 * MATRIX_CASES=rename,holes some cases only.
 */
const shapes = process.env.EMBEDDED_SHAPES?.split(',') ?? ['distribute']
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
    const type = parseType(shape)
    const { disperse } = type
    const bricks = Math.max(2, setWidth(type))
    const layout = layoutOf(type)
    const tag = shape.replaceAll(/\W/g, '')
    const embedded = new Map<ClientKind, Embedded>()
    const mounts: Mount[] = []
    let volume: Volume
    let local: string
    let localResults: Results
    let stockResults: Results

    const onDisperse = (one: Difference): boolean =>
      disperse !== undefined && knownOnDisperse(one, disperse)
    const unknown = (found: Difference[]): Difference[] =>
      found.filter((one) => !knownOnEmbedded(one) && !onDisperse(one))

    before(async () => {
      local = space(`local${tag}`)
      mkdirSync(local)
      localResults = await matrix('matrix', local, ...only)
      volume = await Volume.create(`stock${tag}`, { bricks, layout })
      mounts.push(await volume.mount('stock'))
      stockResults = await matrix('matrix', mounts[0]!.dir, ...only)
      for (const kind of clients) {
        const made = new Embedded(bricks, space('embedded'))
        embedded.set(kind, made)
        await made.start(layout)
      }
    })

    after(async () => {
      for (const mount of mounts) await mount.unmount()
      for (const made of embedded.values()) await made.end()
      await volume.killBricks()
    })

    async function rerun(cases: string[]): Promise<Results> {
      const again = await Volume.create(`again${tag}`, { bricks, layout })
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

    const wholeFiles = disperse && 'fragments depend on what was written together'
    void test('our bricks hold what stock bricks hold', { skip: wholeFiles ?? false }, async () => {
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

/**
 * The syscall matrix on real bricks: run through the stock client on one volume and through ours
 * on another of the same shape, it must return and leave behind the same; each client must see
 * of either volume what the other sees. Where stock is at fault, `known.ts` says what is right.
 */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { registry } from '../../xlators/registry.ts'
import {
  CACHED,
  enterSandbox,
  type Mount,
  ours,
  projectRoot,
  run,
  space,
  Volume,
} from '../lib/sandbox.ts'
import type { BrickTree } from './matrix/bricks.ts'
import type { Results, Value } from './matrix/case.ts'
import { compare, differsAgain, report } from './matrix/compare.ts'

const skip = await enterSandbox(import.meta.url)

/** MATRIX_BRICKS=2 runs one shape, MATRIX_CASES=rename,holes some cases only. */
const shapes = process.env.MATRIX_BRICKS?.split(',') ?? ['1', '2', '3', '8', '2 cached', '2 acl']
const only = process.env.MATRIX_CASES?.split(',') ?? []

const program = join(projectRoot, 'dist/test/mount/matrix/run.js')

async function matrix<T>(...args: string[]): Promise<T> {
  const result = await run([process.execPath, program, ...args], { timeoutMs: 120_000 })
  if (result.stderr !== '') process.stderr.write(result.stderr)
  return JSON.parse(result.stdout) as T
}

type Tree = Record<string, Value>

for (const shape of shapes) {
  const args = shape.endsWith('acl') ? ['--acl'] : []
  const refused =
    args.length > 0 && ours === 'ours' && registry['system/posix-acl'] === undefined
      ? 'there is no system/posix-acl translator'
      : false
  describe(`matrix on ${shape} brick(s)`, { skip: skip || refused, timeout: 300_000 }, () => {
    const bricks = Number.parseInt(shape, 10)
    const set = shape.endsWith('cached') ? CACHED : {}
    const volumes: Volume[] = []
    const mounts: Mount[] = []
    let local: string
    let stockResults: Results
    let localResults: Results

    before(async () => {
      const tag = shape.replaceAll(/\W/g, '')
      for (const name of [`va${tag}`, `vb${tag}`]) {
        volumes.push(await Volume.create(name, { bricks, set }))
      }
      mounts.push(await volumes[0]!.mount('stock', args), await volumes[1]!.mount(ours, args))
      local = space(`local${tag}`)
      mkdirSync(local)
      localResults = await matrix('matrix', local, ...only)
      stockResults = await matrix('matrix', mounts[0]!.dir, ...only)
    })

    after(async () => {
      for (const mount of mounts) await mount.unmount()
      for (const volume of volumes) await volume.killBricks()
    })

    test('every call returns what it returns through the stock mount', async () => {
      const ourResults = await matrix<Results>('matrix', mounts[1]!.dir, ...only)
      const reference = ours === 'stock' ? undefined : localResults
      const rerun = async (cases: string[]): Promise<Results> => {
        const volume = await Volume.create(`vc${bricks}`, { bricks, set })
        const mount = await volume.mount('stock', args)
        try {
          return await matrix<Results>('matrix', mount.dir, ...cases)
        } finally {
          await mount.unmount()
          await volume.destroy()
        }
      }
      const first = compare(stockResults, ourResults, reference)
      const differences = await differsAgain(first, rerun, ourResults, reference)
      assert.equal(differences.length, 0, report(differences))
    })

    test('both clients see the same of what either wrote', async () => {
      mounts.push(await volumes[0]!.mount(ours, args), await volumes[1]!.mount('stock', args))
      const [stockOnA, oursOnB, oursOnA, stockOnB] = await Promise.all(
        mounts.map((mount) => matrix<Tree>('tree', mount.dir)),
      )
      const reference = ours === 'stock' ? undefined : await matrix<Tree>('tree', local)
      const trees = { stockOnA, oursOnB, oursOnA, stockOnB }
      for (const [name, seen] of Object.entries(trees)) {
        const differences = compare(stockOnA!, seen!, reference)
        assert.equal(differences.length, 0, `${name}: ${report(differences)}`)
      }
    })

    test('the bricks hold the same', async () => {
      const [a, b] = await Promise.all(
        volumes.map((v) => matrix<BrickTree[]>('bricks', v.name, ...v.bricks)),
      )
      for (let i = 0; i < bricks; i++) {
        const differences = compare(a![i]!, b![i]!, ours === 'stock' ? undefined : {})
        assert.equal(differences.length, 0, `brick ${i}: ${report(differences)}`)
      }
    })
  })
}
